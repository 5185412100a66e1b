"""Runs an API that costs next to nothing: its keys, and the same answer to every `sync`.

python -m bench.fake_api PORT KEYS
"""

import asyncio
import re
import sys
from typing import Final, cast

import uvloop

_SYNC: Final = re.compile(rb"/api/chat/([0-9a-f-]{36})/sync")


def _answer(status: bytes, body: bytes) -> bytes:
    head = b"HTTP/1.1 %b\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
    return head % (status, len(body)) + body


class StandIn(asyncio.Protocol):
    """A kept connection; requests without bodies."""

    def __init__(self, keys: bytes) -> None:
        self._keys = _answer(b"200 OK", keys)
        self._missing = _answer(b"404 Not Found", b"{}")
        self._received = b""
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's are none by inheritance

    def data_received(self, data: bytes) -> None:
        assert self._transport is not None
        *heads, self._received = (self._received + data).split(b"\r\n\r\n")
        self._transport.write(b"".join(map(self._respond, heads)))

    def _respond(self, head: bytes) -> bytes:
        path = head.split(b" ", 2)[1]
        if (sync := _SYNC.match(path)) is not None:
            chat = (
                b'{"ok":true,"chatId":"%b","lastSeq":0,"missed":[],"hasMore":false,"reply":null,"online":[]}'
            )
            return _answer(b"200 OK", chat % sync[1])
        return self._keys if path == b"/.well-known/jwks.json" else self._missing


async def serve(port: int, keys: bytes) -> None:
    """Serves until killed."""
    server = await asyncio.get_running_loop().create_server(lambda: StandIn(keys), "127.0.0.1", port)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(serve(int(sys.argv[1]), sys.argv[2].encode()))
