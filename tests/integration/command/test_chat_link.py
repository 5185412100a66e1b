"""The terminal client against servers that misbehave, which the real ones cannot be made to do."""

import asyncio
from typing import Any

import aiohttp
import pytest
import socketio
from integration.command.chat_server import BOUND, Listener, Place, Server, ack, linked

from roomcast.chat.connection.link import Link
from roomcast.chat.connection.rest import ChatError, RefusedError, Rest, UnreachableError


def joins(server: Server) -> list[int]:
    return [payload["afterSeq"] for event, payload in server.asked if event == "join-chat"]


def refused(code: str) -> dict[str, Any]:
    return {"ok": False, "error": {"code": code, "message": "no"}}


async def test_it_joins_again_until_nothing_is_missing(server: Server, http: aiohttp.ClientSession) -> None:
    """`hasMore`: again, after what came; an API that is away for a moment: again, a little later."""
    server.acks = [ack(1, 2, more=True), refused("unavailable"), ack(3)]
    async with linked(server, http) as listener:
        await server.until(lambda: listener.seqs == [1, 2, 3])
        assert joins(server) == [0, 2, 2]


async def test_a_resync_makes_it_join_again(server: Server, http: aiohttp.ClientSession) -> None:
    """After the time it is told, with the last message it knows."""
    server.acks = [ack(1, 2)]
    async with linked(server, http) as listener:
        await server.until(lambda: len(joins(server)) == 1)
        await server.sockets.emit("resync", {"chatId": None, "inMs": 50})
        await server.until(lambda: len(joins(server)) == 2)
        assert joins(server) == [0, 2]
        assert listener.out == []


async def test_a_lost_connection_comes_back_by_itself(server: Server, http: aiohttp.ClientSession) -> None:
    """Refused for a while, then joined after the last known message; each change is told."""
    server.acks = [ack(1)]
    async with linked(server, http) as listener:
        await server.until(lambda: len(joins(server)) == 1)
        server.refuse = [{"code": "draining"}]
        [sid] = [sid for sid, _ in server.sockets.manager.get_participants("/", None)]
        await server.sockets.disconnect(sid)
        await server.until(lambda: len(joins(server)) == 2)
        assert joins(server) == [0, 1]
        lost, draining, back = listener.troubles[1:]
        assert "lost" in lost
        assert "draining" in draining
        assert back == ""


async def test_a_chat_that_is_gone_is_told(server: Server, http: aiohttp.ClientSession) -> None:
    """Once; it is not asked for again."""
    server.acks = [refused("not_found")]
    async with linked(server, http) as listener:
        await server.until(lambda: bool(joins(server)))
        await server.sockets.emit("chat-activity", {"chatId": "other"})
        await server.until(lambda: ("chat-activity", {"chatId": "other"}) in listener.events)
        assert listener.out == ["c"]
        assert joins(server) == [0]


@pytest.mark.parametrize("name", ["connect", "call"])
async def test_it_ends_though_the_library_swallows_the_word(
    server: Server, http: aiohttp.ClientSession, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """`asyncio.wait_for` of Python 3.11 does, when a cancellation comes together with what it waits for."""
    original, waiting = getattr(socketio.AsyncClient, name), asyncio.Event()

    async def swallowing(self: socketio.AsyncClient, *arguments: Any, **options: Any) -> Any:
        result = await original(self, *arguments, **options)
        try:
            waiting.set()
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            return result

    monkeypatch.setattr(socketio.AsyncClient, name, swallowing)
    async with asyncio.timeout(BOUND), linked(server, http):
        await waiting.wait()


async def test_an_expiring_token_is_replaced_on_the_socket(
    server: Server, http: aiohttp.ClientSession
) -> None:
    """Told by the gateway, renewed at the API, handed to the gateway; the socket stays."""
    async with linked(server, http):
        await server.until(lambda: bool(joins(server)))
        await server.sockets.emit("token-expiring", {"expiresAt": "2026-11-21T09:30:00.123Z"})
        await server.until(lambda: ("refresh-token", {"token": "access-2"}) in server.asked)
        assert server.connects == ["access-1"]


async def test_a_short_token_is_renewed_before_its_end(server: Server, http: aiohttp.ClientSession) -> None:
    """Without being told."""
    server.life = 1.0
    async with linked(server, http):
        await server.until(lambda: any(event == "refresh-token" for event, _ in server.asked))


async def test_a_refused_token_is_renewed(server: Server, http: aiohttp.ClientSession) -> None:
    """The next attempt comes with a new one."""
    server.refuse = [{"code": "token_expired"}]
    async with linked(server, http):
        await server.until(lambda: bool(joins(server)))
        assert server.connects == ["access-1", "access-2"]


async def test_who_is_not_let_in_is_told_so(server: Server, http: aiohttp.ClientSession) -> None:
    """Instead of trying for ever."""
    server.refuse = [{"code": "origin_forbidden"}]
    link = Link(http, server.url, await server.logged_in(http), Listener(Place(), server.changed))
    with pytest.raises(ChatError, match="origin_forbidden"):
        await asyncio.wait_for(link.run(), BOUND)


async def test_an_api_that_is_not_there_is_named(http: aiohttp.ClientSession) -> None:
    """The line says where it was looked for, and what to start."""
    with pytest.raises(UnreachableError, match=r"127\.0\.0\.1:1 .*roomcast up"):
        await Rest(http, "http://127.0.0.1:1").call("GET", "/api/me")
    with pytest.raises(UnreachableError, match="no URL"):
        await Rest(http, "nowhere").call("GET", "/api/me")


async def test_something_else_that_answers_is_no_api(server: Server, http: aiohttp.ClientSession) -> None:
    """A page is not a problem of the API's."""
    with pytest.raises(RefusedError, match="404"):
        await Rest(http, server.url).call("GET", "/nothing/here")
