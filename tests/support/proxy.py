"""A TCP proxy that can fail as networks do."""

import asyncio
import itertools
import socket
import struct
from collections import deque
from enum import Enum
from types import TracebackType
from typing import Final, Self, cast

from support.servers.ports import free_port

_RESET: Final = struct.pack("ii", 1, 0)
"""SO_LINGER with no time: closing sends a reset."""


class Mode(Enum):
    """The state of a link."""

    PASSING = "passing"
    CUT = "cut"
    """Connections are reset, and new ones as soon as they are made."""
    FROZEN = "frozen"
    """Connections are taken, and nothing passes in either direction, not even that one side has closed."""


class Link:
    """127.0.0.1:`port`, behind which are ports of 127.0.0.1; `async with` opens and closes it.

    What was written into a frozen link arrives, in order, when it passes again, as TCP's retransmissions do.
    With several `targets` it balances as any balancer of connections does: each is the first in turn, and
    one that refuses is passed over.
    """

    def __init__(self, *targets: int) -> None:
        self.port = free_port()
        self._targets = targets
        self._turns = itertools.count()
        self._mode = Mode.PASSING
        self._seconds = 0.0
        self._pairs: set[_Pair] = set()
        self._server: asyncio.Server | None = None

    async def __aenter__(self) -> Self:
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(lambda: _Pair(self).near, "127.0.0.1", self.port)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._server is not None
        self._server.close()
        self.cut()

    @property
    def mode(self) -> Mode:
        """Its state now."""
        return self._mode

    @property
    def delay_seconds(self) -> float:
        """The seconds that everything takes to pass, in each direction."""
        return self._seconds

    def cut(self) -> None:
        """Resets all connections, and each new one, until it is healed."""
        self._mode = Mode.CUT
        for pair in list(self._pairs):
            pair.reset()

    def freeze(self) -> None:
        """Takes connections and lets nothing pass, until it is healed."""
        self._mode = Mode.FROZEN
        for pair in list(self._pairs):
            pair.pause()

    def slow(self, seconds: float) -> None:
        """Has everything arrive so much later, until it is healed."""
        self._seconds = seconds

    def heal(self) -> None:
        """Passes everything at once again."""
        self._mode, self._seconds = Mode.PASSING, 0.0
        for pair in list(self._pairs):
            pair.resume()

    async def dial(self, end: "_End") -> None:
        """Connects `end` to what is behind the link.

        Raises:
            OSError: all of it refuses.
        """
        first = next(self._turns)
        for place in range(len(self._targets)):
            target = self._targets[(first + place) % len(self._targets)]
            try:
                await asyncio.get_running_loop().create_connection(lambda: end, "127.0.0.1", target)
            except OSError:
                if place == len(self._targets) - 1:
                    raise
            else:
                return

    def add(self, pair: "_Pair") -> None:
        """A connection was made."""
        self._pairs.add(pair)

    def remove(self, pair: "_Pair") -> None:
        """A connection has ended."""
        self._pairs.discard(pair)


class _Pair:
    """A connection to the link, and the one that the link makes for it."""

    def __init__(self, link: Link) -> None:
        self.link = link
        self.near, self.far = _End(self), _End(self)
        self.near.other, self.far.other = self.far, self.near
        self._dialling: asyncio.Task[None] | None = None

    def arrived(self) -> None:
        """Somebody has connected to the link."""
        self.link.add(self)
        match self.link.mode:
            case Mode.CUT:
                self.reset()
            case Mode.FROZEN:
                self.pause()
            case Mode.PASSING:
                self.resume()

    def pause(self) -> None:
        """Nothing passes."""
        self.near.pause()
        self.far.pause()

    def resume(self) -> None:
        """Passes what was held, and goes on."""
        if self._dialling is None:
            self._dialling = asyncio.create_task(self._dial())
        self.far.resume()
        self.near.resume()

    def reset(self) -> None:
        """Ends both sides with a reset."""
        self.link.remove(self)
        for end in (self.near, self.far):
            end.reset()

    async def _dial(self) -> None:
        try:
            await self.link.dial(self.far)
        except OSError:
            self.reset()


class _End(asyncio.Protocol):
    """One side: what it hears goes to the other."""

    other: "_End"

    def __init__(self, pair: _Pair) -> None:
        self._pair = pair
        self._transport: asyncio.Transport | None = None
        self._under_way: deque[tuple[float, bytes | None]] = deque()
        self._held: list[bytes] = []
        self._paused = False
        self._finished = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        if self is self._pair.near:
            self._pair.arrived()
        else:
            self._pass_on()
        if self._paused:
            self._transport.pause_reading()

    def data_received(self, data: bytes) -> None:
        self.other.send(data)

    def connection_lost(self, exc: Exception | None) -> None:
        if exc is None:
            self.other.send(None)
        else:
            self._pair.reset()

    def send(self, data: bytes | None) -> None:
        """Has `data`, or with None the end, arrive here once it has passed the link."""
        loop = asyncio.get_running_loop()
        due = loop.time() + self._pair.link.delay_seconds
        if self._under_way:
            due = max(due, self._under_way[-1][0])
        self._under_way.append((due, data))
        if self._pair.link.delay_seconds or len(self._under_way) > 1:
            loop.call_at(due, self._arrive)
        else:
            self._arrive()

    def pause(self) -> None:
        """Reads and writes nothing."""
        self._paused = True
        if self._transport is not None and not self._transport.is_closing():
            self._transport.pause_reading()

    def resume(self) -> None:
        """Writes what was held, and reads again."""
        self._paused = False
        self._pass_on()
        if self._transport is not None and not self._transport.is_closing():
            self._transport.resume_reading()

    def reset(self) -> None:
        """Ends this side."""
        if self._transport is None:
            return
        if (sock := self._transport.get_extra_info("socket")) is not None and sock.fileno() >= 0:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        self._transport.abort()

    def _arrive(self) -> None:
        """Passes on what was sent first, whichever timer it is: clocks are coarse, and order counts."""
        _, data = self._under_way.popleft()
        if data is None:
            self._finished = True
        else:
            self._held.append(data)
        self._pass_on()

    def _pass_on(self) -> None:
        if self._paused or self._transport is None or self._transport.is_closing():
            return
        held, self._held = self._held, []
        self._transport.writelines(held)
        if self._finished:
            self._transport.close()
            self._pair.link.remove(self._pair)
