"""A Socket.IO client as cheap as Python allows, so that thousands of them leave the gateway the machine.

RFC 6455 by hand, on a bare protocol: no library's checks or queues are in the way, of well-behaved clients
and of those that are not.
"""

import asyncio
import base64
import os
import struct
from collections.abc import Callable
from typing import Any, Final, Self
from urllib.parse import urlsplit

import orjson

CONNECT_SECONDS: Final = 30.0
TEXT: Final = 0x1
CLOSE: Final = 0x8
PING: Final = 0x9
_REQUEST: Final = (
    "GET /socket.io/?EIO=4&transport=websocket HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\n"
    "Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n{more}\r\n"
)


class TurnedAwayError(Exception):
    """The handshake was answered with another HTTP status than 101, or a `connect_error`, or not at all."""

    def __init__(self, status: int, code: str) -> None:
        super().__init__(f"{status} {code}")
        self.status = status
        self.code = code


def frame(payload: bytes, opcode: int = TEXT) -> bytes:
    """A frame as clients send it; masked with zeros, which changes nothing."""
    head = bytes([0x80 | opcode])
    size = len(payload)
    if size < 126:
        head += bytes([0x80 | size])
    elif size < 65536:
        head += struct.pack("!BH", 0x80 | 126, size)
    else:
        head += struct.pack("!BQ", 0x80 | 127, size)
    return head + bytes(4) + payload


class RawSocket(asyncio.Protocol):
    """One WebSocket, which answers pings.

    Once it is connected, `heard` is called with each text message that is no acknowledgement.

    Attributes:
        gone: set when the connection has ended.
        close_code: what the server closed with, if it said so.
        connected: the payload of `connected`.
    """

    def __init__(self, heard: Callable[[bytes], None] = lambda _: None) -> None:
        self.heard = heard
        self.gone = asyncio.Event()
        self.close_code: int | None = None
        self.connected: dict[str, Any] = {}
        self.transport: asyncio.Transport | None = None
        self._buffer = bytearray()
        self._open = False
        self._answered: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._packets: asyncio.Queue[bytes | None] = asyncio.Queue()
        self._live = False
        self._acks: dict[int, asyncio.Future[Any]] = {}
        self._asked = 0

    @classmethod
    async def opened(
        cls,
        url: str,
        *,
        heard: Callable[[bytes], None] = lambda _: None,
        source: str | None = None,
        headers: dict[str, str] | None = None,
    ) -> Self:
        """A WebSocket after the Engine.IO handshake; `source` is the address that it comes from.

        Raises:
            TurnedAwayError, OSError: it is not let in.
        """
        where = urlsplit(url)
        loop = asyncio.get_running_loop()
        local = None if source is None else (source, 0)
        _, raw = await loop.create_connection(
            lambda: cls(heard), where.hostname or "", where.port or 80, local_addr=local
        )
        more = "".join(f"{name}: {value}\r\n" for name, value in (headers or {}).items())
        key = base64.b64encode(os.urandom(16)).decode()
        raw.write(_REQUEST.format(host=where.netloc, key=key, more=more).encode())
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                await raw._answered
        except BaseException:
            raw.abort()
            raise
        return raw

    @classmethod
    async def joined(cls, url: str, token: str, *chats: str, **options: Any) -> Self:
        """A connected socket, in the rooms of `chats`.

        Raises:
            TurnedAwayError, OSError: it is not let in.
        """
        raw = await cls.opened(url, **options)
        try:
            await raw.connect(token)
            for chat_id in chats:
                ack = await raw.ask("join-chat", chat_id)
                if not ack["ok"]:
                    raise TurnedAwayError(0, ack["error"]["code"])
        except BaseException:
            raw.abort()
            raise
        return raw

    async def connect(self, token: str) -> None:
        """Asks for a socket, and waits for `connected`.

        Raises:
            TurnedAwayError: there is a `connect_error`, or the connection ends.
        """
        self.text(b"40" + orjson.dumps({"token": token}))
        while not self.connected:
            async with asyncio.timeout(CONNECT_SECONDS):
                packet = await self.packet()
            if packet is None:
                raise TurnedAwayError(0, "gone")
            if packet.startswith(b"44"):
                raise TurnedAwayError(0, orjson.loads(packet[2:])["data"]["code"])
            if packet.startswith(b'42["connected",'):
                self.connected = orjson.loads(packet[2:])[1]
        self._live = True
        while not self._packets.empty() and (early := self._packets.get_nowait()) is not None:
            self.heard(early)

    async def packet(self) -> bytes | None:
        """The next text message of one that is not connected yet; None at the end."""
        return await self._packets.get()

    async def ask(self, event: str, *arguments: Any, seconds: float = CONNECT_SECONDS) -> Any:
        """Emits an event; its acknowledgement.

        Raises:
            TurnedAwayError: the connection ends.
        """
        if self.gone.is_set():
            raise TurnedAwayError(0, "gone")
        self._asked += 1
        number = self._asked
        answer = self._acks[number] = asyncio.get_running_loop().create_future()
        self.text(b"42%d%b" % (number, orjson.dumps([event, *arguments])))
        try:
            async with asyncio.timeout(seconds):
                return await answer
        finally:
            self._acks.pop(number, None)

    def text(self, payload: bytes) -> None:
        """Sends a text message."""
        self.write(frame(payload))

    def write(self, data: bytes) -> None:
        """Sends bytes as they are."""
        if self.transport is not None:
            self.transport.write(data)

    def abort(self) -> None:
        """Cuts the connection."""
        if self.transport is not None:
            self.transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def connection_lost(self, _: Exception | None) -> None:
        self.gone.set()
        self._packets.put_nowait(None)
        for waiting in (self._answered, *self._acks.values()):
            if not waiting.done():
                waiting.set_exception(TurnedAwayError(0, "gone"))
                waiting.exception()  # nobody may be waiting for it

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        if not self._open and not self._take_head():
            return
        while (message := self._take_frame()) is not None:
            opcode, payload = message
            if opcode == TEXT:
                self._hear(payload)
            elif opcode == CLOSE:
                self.close_code = int.from_bytes(payload[:2], "big") if payload else None
                self.write(frame(payload[:2], CLOSE))

    def _take_head(self) -> bool:
        """Returns whether the answer to the request is complete."""
        end = self._buffer.find(b"\r\n\r\n")
        if end < 0:
            return False
        status = int(self._buffer[9:12])
        if status == 101:
            del self._buffer[: end + 4]
            self._open = True
            if not self._answered.done():
                self._answered.set_result(None)
            return True
        said = bytes(self._buffer[end + 4 :])
        code = orjson.loads(said)["code"] if said.startswith(b'{"code"') else said.decode()
        if not self._answered.done():
            self._answered.set_exception(TurnedAwayError(status, code))
        return False

    def _take_frame(self) -> tuple[int, bytes] | None:
        buffer = self._buffer
        if len(buffer) < 2:
            return None
        size, start = buffer[1] & 0x7F, 2
        if size == 126:
            size, start = int.from_bytes(buffer[2:4], "big"), 4
        elif size == 127:
            size, start = int.from_bytes(buffer[2:10], "big"), 10
        if len(buffer) < start + size:
            return None
        message = buffer[0] & 0x0F, bytes(buffer[start : start + size])
        del buffer[: start + size]
        return message

    def _hear(self, packet: bytes) -> None:
        if packet == b"2":
            self.text(b"3")
            return
        if packet.startswith(b"43"):
            number, _, rest = packet[2:].partition(b"[")
            answer = self._acks.get(int(number))
            if answer is not None and not answer.done():
                answer.set_result(orjson.loads(b"[" + rest)[0])
            return
        if self._live:
            self.heard(packet)
        else:
            self._packets.put_nowait(packet)
