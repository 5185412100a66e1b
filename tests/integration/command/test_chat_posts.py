"""Posts of the terminal client: tried until there is an answer, and told when there is none."""

import aiohttp
import pytest
from aiohttp import web
from integration.command.chat_server import Server, posted, problem

from roomcast.chat.connection.account import LoggedOutError


async def unavailable(request: web.Request) -> web.StreamResponse:
    return problem(503, "unavailable", **{"Retry-After": "1"})


async def cut(request: web.Request) -> web.StreamResponse:
    assert request.transport is not None
    request.transport.abort()
    return web.Response()


async def too_long(request: web.Request) -> web.StreamResponse:
    return problem(422, "validation_failed")


async def test_a_post_is_tried_until_there_is_an_answer(server: Server, http: aiohttp.ClientSession) -> None:
    """Over a lost connection and a 503, with one key, before the next post, and told once."""
    server.answers = [cut, unavailable]
    sent, notices = await posted(server, http, "one", "two")
    bodies = [body["content"] for _, body in server.posts]
    keys = [key for key, _ in server.posts]
    assert bodies == ["one", "one", "one", "two"]
    assert len(set(keys[:3])) == 1
    assert keys[3] != keys[0]
    assert [it.seq for it in sent] == [3, 4]
    assert len(notices) == 1


async def test_a_refused_post_is_told_and_holds_up_nothing(
    server: Server, http: aiohttp.ClientSession
) -> None:
    """Trying again would not help."""
    server.answers = [too_long]
    sent, notices = await posted(server, http, "much too long", "fine")
    assert notices == ["Not sent: It is validation_failed."]
    assert len(sent) == 1


async def test_an_expired_token_costs_a_renewal_and_no_message(
    server: Server, http: aiohttp.ClientSession
) -> None:
    """The same post with the same key, under a new token."""

    async def expired(request: web.Request) -> web.StreamResponse:
        return problem(401, "token_expired")

    server.answers = [expired]
    sent, notices = await posted(server, http, "one")
    assert len(sent) == 1
    assert len({key for key, _ in server.posts}) == 1
    assert server.tokens == 2
    assert notices == []


async def test_an_ended_session_ends_the_client(server: Server, http: aiohttp.ClientSession) -> None:
    """With words that say what to do."""

    async def ended(request: web.Request) -> web.StreamResponse:
        return problem(401, "token_invalid")

    server.answers, server.refresh_refused = [ended], True
    with pytest.raises(LoggedOutError, match="roomcast chat"):
        await posted(server, http, "one")
