"""The clients that post: what they take for a failure, and what they do about it."""

import asyncio
import itertools
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import orjson
import pytest
from aiohttp import web
from chaos import posters
from chaos.history import History
from chaos.posters import Author, Posters
from chaos.witness import Kind
from support.servers.ports import free_port

Handler = Callable[[web.Request], Awaitable[web.Response]]


@asynccontextmanager
async def api(handler: Handler) -> AsyncIterator[str]:
    """An API that answers posts as `handler` does."""
    app = web.Application()
    app.router.add_post("/api/chat/messages", handler)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    port = free_port()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        await runner.cleanup()


async def stored(request: web.Request) -> web.Response:
    """201, as the real one."""
    post = orjson.loads(await request.read())
    message = {"id": request.headers["Idempotency-Key"], "seq": 1, **post}
    return web.json_response(message, status=201)


def at_first(refuse: Handler) -> Handler:
    """Does so with the first post, and stores what comes then."""
    handlers = itertools.chain([refuse], itertools.repeat(stored))

    async def handler(request: web.Request) -> web.Response:
        return await next(handlers)(request)

    return handler


def answering(status: int) -> Handler:
    """A problem."""

    async def handler(_: web.Request) -> web.Response:
        return web.json_response({"code": "unavailable"}, status=status, headers={"Retry-After": "1"})

    return handler


async def resets(request: web.Request) -> web.Response:
    """Ends the connection instead of an answer."""
    assert request.transport is not None
    request.transport.abort()
    return web.Response()


async def posted(*apis: str, first_time: bool = False, excused: bool = False) -> tuple[History, Posters]:
    """A few posts by one client."""
    history = History()
    author = Author("ann", "token", "chat-1", asks=False, slow=False, per_second=50)
    client = Posters(
        [author], apis, history, random.Random(1), first_time=first_time, excused=lambda *_: excused
    )
    stop = asyncio.Event()
    asyncio.get_running_loop().call_later(0.3, stop.set)
    await client.run(stop)
    return history, client


async def test_what_is_answered_at_once_is_no_failure() -> None:
    """Every post 201 the first time."""
    async with api(stored) as url:
        history, client = await posted(url, first_time=True)
    assert history.violations == []
    assert client.answers.keys() == {"201"}


@pytest.mark.parametrize("handler", [at_first(answering(503)), at_first(resets)])
async def test_a_post_that_had_to_be_repeated_is_found_where_nothing_dies(handler: Handler) -> None:
    """A 503, or a connection that ends without an answer; elsewhere it is repeated, and that is all."""
    async with api(handler) as url:
        history, _ = await posted(url, first_time=True)
    assert history.counts() == {Kind.REFUSED: 1}
    assert all(post.answered for post in history.posts.values())


async def test_a_post_is_repeated_until_it_is_answered() -> None:
    """A 503 with `Retry-After` is no failure where things may die."""
    async with api(at_first(answering(503))) as url:
        history, client = await posted(url)
    assert history.violations == []
    assert client.answers["503"] == 1


async def test_a_500_is_found() -> None:
    """There is no excuse for one."""
    async with api(at_first(answering(500))) as url:
        history, _ = await posted(url)
    assert history.counts() == {Kind.REFUSED: 1}


@pytest.mark.parametrize("excused", [False, True])
async def test_a_hang_is_found_unless_the_process_was_frozen(
    monkeypatch: pytest.MonkeyPatch, excused: bool
) -> None:
    """And the post goes to the other API, as do those after it."""
    monkeypatch.setattr(posters, "GIVE_UP_SECONDS", 0.2)
    never = asyncio.Event()

    async def hangs(_: web.Request) -> web.Response:
        await never.wait()
        return web.Response()

    async with api(hangs) as frozen, api(stored) as well:
        history, client = await posted(frozen, well, excused=excused)
    assert set(history.counts()) == (set() if excused else {Kind.HANG})
    assert client.answers["no answer"] > 0
    assert all(post.answered for post in history.posts.values())
