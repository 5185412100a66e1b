"""Requests that are not HTTP, or whose clients have gone, are logged as such."""

import asyncio
import logging
from collections.abc import Iterator

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from structlog.testing import capture_logs

from shared.telemetry import logs


@pytest.fixture(autouse=True)
def filters() -> Iterator[None]:
    """Those of a service."""
    logger = logging.getLogger("aiohttp.server")
    own = (logs._without_malformed, logs._without_clients_gone)
    for each in own:
        logger.addFilter(each)
    yield
    for each in own:
        logger.removeFilter(each)


async def test_the_headers_of_a_malformed_request_stay_out_of_the_log(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A token in them is a secret; a line says that there was such a request."""
    with capture_logs() as said:
        async with TestServer(web.Application()) as server:
            reader, writer = await asyncio.open_connection(server.host, server.port)
            writer.write(b"GET / HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer s3cret\x01\r\n\r\n")
            assert b"400" in await reader.readline()
            writer.close()
            await writer.wait_closed()
    assert [line["event"] for line in said] == ["http.malformed"]
    assert "s3cret" not in caplog.text + str(said)


async def test_a_client_that_went_before_it_was_told_to_go_on_is_no_failure(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """aiohttp cannot write `100 Continue` then, and would log that as an error."""

    async def late(request: web.Request) -> None:
        assert request.transport is not None
        request.transport.abort()
        await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    async def never(_: web.Request) -> web.Response:
        raise AssertionError("it has gone")

    app = web.Application()
    app.router.add_post("/", never, expect_handler=late)
    with capture_logs() as said:
        async with TestServer(app) as server:
            reader, writer = await asyncio.open_connection(server.host, server.port)
            writer.write(b"POST / HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 1\r\n\r\n")
            assert await reader.read() == b""
            writer.close()
    assert [line["event"] for line in said] == ["http.gone"]
    assert not caplog.records
