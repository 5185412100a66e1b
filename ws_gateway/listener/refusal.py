"""The refusal of a connection, said by limits and sent as HTTP."""

import math
from dataclasses import dataclass
from http import HTTPStatus
from typing import Final

import orjson
from aiohttp import hdrs, web

FULL_RETRY_SECONDS: Final = 5
"""When to try again where no place is free."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """The HTTP answer to a connection that is not opened: Socket.IO clients try again by themselves."""

    status: int
    code: str
    message: str
    retry_after: float

    def response(self) -> web.Response:
        """Returns the answer for aiohttp, with `Retry-After`."""
        return web.Response(
            status=self.status,
            body=self._body,
            content_type="application/json",
            headers={hdrs.RETRY_AFTER: self._seconds},
        )

    def wire(self) -> bytes:
        """Returns the same as bytes, for a client that has not asked yet; the connection ends with it."""
        body = self._body
        head = (
            f"HTTP/1.1 {self.status} {HTTPStatus(self.status).phrase}\r\nContent-Type: application/json\r\n"
            f"Content-Length: {len(body)}\r\nRetry-After: {self._seconds}\r\nConnection: close\r\n\r\n"
        )
        return head.encode() + body

    @property
    def _body(self) -> bytes:
        return orjson.dumps({"code": self.code, "message": self.message})

    @property
    def _seconds(self) -> str:
        return str(max(1, math.ceil(self.retry_after)))
