"""A request's body, however it comes."""

import asyncio
import gzip

import pytest
from aiohttp import ClientSession, web
from aiohttp.test_utils import TestServer

from chat_api.http.bodies import MAX_BODY_BYTES, read_body
from chat_api.http.problems import TooLarge


async def late(request: web.Request) -> web.Response:
    """Reads the body when all of it that is let in is there."""
    while not (request.content.is_eof() or request.protocol._reading_paused):  # noqa: ASYNC110  nobody is told
        await asyncio.sleep(0.01)
    try:
        return web.Response(text=str(len(await read_body(request))))
    except TooLarge:
        return web.Response(text="too large")


@pytest.fixture
async def server() -> TestServer:
    app = web.Application(handler_args={"read_bufsize": 2**20})
    app.router.add_post("/", late)
    return TestServer(app)


@pytest.mark.parametrize("how", ["length", "chunked", "gzip"])
@pytest.mark.parametrize("size", [0, 1, MAX_BODY_BYTES, MAX_BODY_BYTES + 1])
async def test_a_body_is_bounded_though_it_comes_in_one_piece(
    server: TestServer, how: str, size: int
) -> None:
    """With its length, in chunks, or as something small that grows."""
    content = b"x" * size

    async def chunks() -> object:
        yield content

    headers = {"Content-Encoding": "gzip"} if how == "gzip" else {}
    body = {"length": content, "chunked": chunks(), "gzip": gzip.compress(content)}[how]
    async with (
        server,
        ClientSession() as http,
        http.post(server.make_url("/"), data=body, headers=headers) as answer,
    ):
        said = await answer.text()
    assert said == (str(size) if size <= MAX_BODY_BYTES else "too large")
