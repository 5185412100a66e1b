"""What a server says of requests that are not HTTP."""

import asyncio
import logging

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from structlog.testing import capture_logs

from shared import logs


async def test_the_headers_of_a_malformed_request_stay_out_of_the_log(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A token in them is a secret; a line says that there was such a request."""
    logger = logging.getLogger("aiohttp.server")
    logger.addFilter(logs._not_what_was_sent)
    try:
        with capture_logs() as said:
            async with TestServer(web.Application()) as server:
                reader, writer = await asyncio.open_connection(server.host, server.port)
                writer.write(b"GET / HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer s3cret\x01\r\n\r\n")
                assert b"400" in await reader.readline()
                writer.close()
                await writer.wait_closed()
    finally:
        logger.removeFilter(logs._not_what_was_sent)
    assert [line["event"] for line in said] == ["http.malformed"]
    assert "s3cret" not in caplog.text + str(said)
