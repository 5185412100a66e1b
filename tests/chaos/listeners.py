"""Sockets that listen: Socket.IO 5 over a WebSocket, as little of it as it takes.

Written for this because a whole client library costs several times as much for each message, and the
processors of the machine are needed for what is tested.
"""

import asyncio
import itertools
import random
import time
from collections.abc import Callable, Sequence
from typing import Any, Final

import aiohttp
import orjson

from chaos.history import History
from chaos.witness import Kind, Witness

_PATH: Final = "/socket.io/?EIO=4&transport=websocket"
_SILENCE_SECONDS: Final = 50.0
"""Longer than the gateway's ping interval and time-out."""
_ACK_SECONDS: Final = 15.0
_CONNECT_SECONDS: Final = 10.0
_RETRY_SECONDS: Final = (0.2, 0.6)
_STAYS_SECONDS: Final = (15.0, 60.0)
"""After which a client goes elsewhere by itself; otherwise all would end up at one gateway."""


class LostError(Exception):
    """The connection has ended, or was refused."""


class Listener:
    """One member's socket in one chat: connects, joins, and does so again whenever it has to.

    It does what docs/protocol.md tells clients to do, and nothing more: it joins again after a connect and
    after a `resync`, never because of what it heard, and goes elsewhere when told that its gateway will stop.
    `first_time`: each join has to succeed, as nothing dies. `excused`: whether the gateway at an address
    cannot have answered at some time since then.
    """

    def __init__(
        self,
        witness: Witness,
        token: str,
        gateways: Sequence[str],
        *,
        history: History,
        rng: random.Random,
        first_time: bool = False,
        excused: Callable[[str, float], bool] = lambda _gateway, _since: False,
    ) -> None:
        self._witness = witness
        self._token = token
        self._gateways = gateways
        self._history = history
        self._rng = rng
        self._first_time = first_time
        self._excused = excused
        self._gateway = ""
        self._behind = asyncio.Event()
        self._acks: dict[int, tuple[int, int, asyncio.Future[bool]]] = {}
        self._numbers = itertools.count()
        self._stay = asyncio.timeout(None)
        self.connections = 0
        self.resyncs = 0

    async def run(self, http: aiohttp.ClientSession) -> None:
        """Listens until cancelled, at one gateway after the other."""
        for gateway in itertools.cycle(self._gateways):
            self._gateway = gateway
            stays = self._rng.uniform(*_STAYS_SECONDS)
            try:
                async with asyncio.timeout(_CONNECT_SECONDS):
                    socket = await http.ws_connect(gateway + _PATH, max_msg_size=0, compress=0)
                async with socket, asyncio.timeout(stays) as self._stay:
                    await self._connection(socket)
            except* (LostError, aiohttp.ClientError, OSError, TimeoutError):
                pass
            finally:
                self._witness.connection(up=False)
            await asyncio.sleep(self._rng.uniform(*_RETRY_SECONDS))

    async def _connection(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self._behind.clear()
        self._acks.clear()
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._catch_up(socket))
            await self._read(socket)

    async def _read(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        while True:
            packet = await socket.receive(_SILENCE_SECONDS)
            if packet.type is not aiohttp.WSMsgType.TEXT:
                raise LostError
            text: str = packet.data
            match text[:2]:
                case "42":
                    event, body = orjson.loads(text[2:])
                    self._event(event, body)
                case "43":
                    self._ack(text)
                case "2":
                    await socket.send_str("3")
                case "40":
                    self.connections += 1
                    self._witness.connection(up=True)
                    self._behind.set()
                case "44" | "41":
                    raise LostError
                case _:
                    if text.startswith("0"):
                        await socket.send_str("40" + orjson.dumps({"token": self._token}).decode())

    def _event(self, event: str, body: Any) -> None:
        match event:
            case "new-msg":
                self._witness.live(body)
            case "ai-status" | "ai-chunk":
                self._witness.writing(event, body)
            case "resync" if body["chatId"] in (None, self._witness.chat_id):
                self.resyncs += 1
                self._witness.signalled()
                asyncio.get_running_loop().call_later(body["inMs"] / 1000, self._behind.set)
            case "server-draining":
                self._stay.reschedule(asyncio.get_running_loop().time() + body["reconnectInMs"] / 1000)
            case _:
                pass

    def _ack(self, text: str) -> None:
        """Right when it is read: what comes behind it is judged by it."""
        start = text.index("[")
        after, asked_at, waiting = self._acks.pop(int(text[2:start]))
        (ack,) = orjson.loads(text[start:])
        if ack["ok"]:
            self._witness.joined(after, ack, asked_at=asked_at)
        elif self._first_time:
            self._history.report(Kind.REFUSED, f"{self._witness.name}: `join-chat` failed: {ack['error']}")
        if not waiting.done():
            waiting.set_result(ack["ok"] and not ack["hasMore"])

    async def _catch_up(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        while True:
            await self._behind.wait()
            self._behind.clear()
            complete = False
            while not complete:
                complete = await self._join(socket)

    async def _join(self, socket: aiohttp.ClientWebSocketResponse) -> bool:
        """Asks for what is missing; whether that is all."""
        number, after = next(self._numbers), self._witness.seen
        began = time.monotonic()
        waiting: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._acks[number] = (after, self._witness.signals, waiting)
        asked = orjson.dumps(["join-chat", {"chatId": self._witness.chat_id, "afterSeq": after}])
        await socket.send_str(f"42{number}{asked.decode()}")
        try:
            async with asyncio.timeout(_ACK_SECONDS):
                complete = await waiting
        except TimeoutError:
            if not self._excused(self._gateway, began):
                self._history.report(Kind.HANG, f"{self._witness.name}: no answer to `join-chat`")
            raise LostError from None
        if not complete and self._witness.seen == after:
            await asyncio.sleep(self._rng.uniform(*_RETRY_SECONDS))
        return complete
