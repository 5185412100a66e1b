"""A WebSocket that python-engineio serves through aiohttp, where it is not served straight on its connection.

It takes the place of `engineio.async_drivers.aiohttp.WebSocket`: without compression, with a bound on its
messages, and whatever ends it ends its session.
"""

import asyncio
from collections.abc import Callable
from typing import Any, Final

import structlog
from aiohttp import web

from ws_gateway.metrics import HANDSHAKE_TIMEOUT, LIMITED, PAYLOAD_TOO_LARGE
from ws_gateway.transport.frame_reader import TOO_BIG
from ws_gateway.transport.polling.packet_queue import end_reader

log = structlog.get_logger()

CLOSE_SECONDS: Final = 5.0


class FallbackWebSocket:
    """The WebSocket of one `engineio.AsyncSocket`, whose `websocket` it is from the opening on."""

    def __init__(self, handler: Callable[["FallbackWebSocket"], Any], server: Any) -> None:
        self._serve = handler
        self._engine_socket = handler.__self__  # type: ignore[attr-defined]  # a method of AsyncSocket
        self._server = server
        self._response = web.WebSocketResponse(
            max_msg_size=server.max_http_buffer_size + 1,  # aiohttp takes what is smaller
            compress=False,
            timeout=CLOSE_SECONDS,
        )
        self._request: web.Request | None = None

    async def __call__(self, environ: dict[str, Any]) -> web.WebSocketResponse:
        """Opens the WebSocket and serves it to its end."""
        self._request = environ["aiohttp.request"]
        await self._response.prepare(self._request)
        self._engine_socket.websocket = self
        self._server.websockets.add(self)
        self._server.no_websockets.clear()
        asyncio.get_running_loop().call_later(self._server.handshake_seconds, self._give_up)
        try:
            await self._serve(self)
        except (ValueError, TypeError, RecursionError, OSError) as error:
            log.info("engine.bad_packet", reason=str(error))
        finally:
            await self._end()
        return self._response

    def _give_up(self) -> None:
        """Cuts the WebSocket of a client that has not come over in its time."""
        if self._engine_socket.upgrading:
            LIMITED.labels(HANDSHAKE_TIMEOUT).inc()
            self.abort()

    async def _end(self) -> None:
        """Ends the connection too, unless the WebSocket was an upgrade that failed: then polling goes on."""
        self._engine_socket.upgrading = False
        if self._engine_socket.upgraded:
            await self._engine_socket.close(wait=False, abort=True)
            end_reader(self._engine_socket)
        await self._response.close()
        self._server.websockets.discard(self)
        if not self._server.websockets:
            self._server.no_websockets.set()

    def abort(self) -> None:
        """Cuts the TCP connection if it is still there."""
        if self._request is not None and self._request.transport is not None:
            self._request.transport.abort()

    async def send(self, message: str | bytes) -> None:
        """Sends a message."""
        if isinstance(message, str):
            await self._response.send_str(message)
        else:
            await self._response.send_bytes(message)

    async def wait(self) -> str | bytes:
        """Waits for the next message.

        Raises:
            OSError: the WebSocket is closed.
        """
        data = (await self._response.receive()).data
        if not isinstance(data, str | bytes):
            if self._response.close_code == TOO_BIG:
                LIMITED.labels(PAYLOAD_TOO_LARGE).inc()
            raise OSError("closed")
        return data

    async def close(self) -> None:
        """Closes the WebSocket."""
        await self._response.close()
