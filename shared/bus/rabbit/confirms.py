"""Publishing straight to a connection, with its confirms taken straight from the connection's bytes.

aiormq makes several frame objects, awaits and a task of each message that it publishes, and as many of its
confirm. On the channel that publishes, frames are written here, and what answers them is read here; aiormq
keeps the connection, and everything else on it. Confirms are RabbitMQ's extension of AMQP 0-9-1
(https://www.rabbitmq.com/docs/confirms): messages are counted from 1 on each channel, and acknowledged by
that number, alone or with all before it. One that is mandatory and reaches no queue is given back first.
"""

import asyncio
from collections.abc import Sequence
from itertools import takewhile
from typing import Final, cast

from pamqp.header import ContentHeader

from shared.bus.rabbit.frame_tap import LONG_LONG, METHOD, Content, FrameProtocol, Transports
from shared.bus.rabbit.messages import Outgoing
from shared.bus.rabbit.wire_format import frames_of

_BASIC: Final = (60).to_bytes(2)
_RETURN: Final = _BASIC + (50).to_bytes(2)
_ACK: Final = _BASIC + (80).to_bytes(2)
_NACK: Final = _BASIC + (120).to_bytes(2)
_TAG_AT: Final = 4
_FLAGS_AT: Final = 12
_MULTIPLE: Final = 1
_FRAME_MAX: Final = 131_072
"""RabbitMQ's own bound for a frame, taken where none was agreed."""


class Batch:
    """Messages that were published together.

    Attributes:
        settled: done once each has been answered; never fails.
        refused: how many the broker did not take.
        returned: how many of them reached no queue, though they had to.
        lost: what ended the link before all were answered, or "".
    """

    __slots__ = ("lost", "missing", "refused", "returned", "settled")

    def __init__(self, count: int, settled: "asyncio.Future[None]") -> None:
        self.missing = count
        self.settled = settled
        self.refused = 0
        self.returned = 0
        self.lost = ""

    def answered(self, *, taken: bool) -> None:
        """Counts one more answer."""
        self.missing -= 1
        self.refused += not taken
        if not self.missing:
            self._settle()

    def lose(self, why: str) -> None:
        """Settles it unanswered: no more answers will come."""
        self.lost = why
        self._settle()

    def _settle(self) -> None:
        if not self.settled.done():
            self.settled.set_result(None)


class ConfirmProtocol(FrameProtocol):
    """A connection with one channel that is published on here."""

    def __init__(self, reader: asyncio.StreamReader, *, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(reader, loop=loop)
        self._event_loop = loop
        self._output: asyncio.WriteTransport | None = None  # the base class has a `_transport`, and drops it
        self._frame_max = _FRAME_MAX
        self._lost = ""
        self._published = 0
        self._waiting: dict[int, Batch] = {}
        self._partial_return: Content | None = None
        self._returned: set[int] = set()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Called with the connection."""
        super().connection_made(transport)
        self._output = cast("asyncio.WriteTransport", transport)  # uvloop's are none by inheritance

    def connection_lost(self, exc: Exception | None) -> None:
        """Called when there is no connection any more."""
        self.lose(repr(exc or "the connection was closed"))
        super().connection_lost(exc)

    def open(self, channel: int, *, frame_max: int) -> None:
        """Publishes on that channel, which is in confirm mode, from now on; nobody else does."""
        self._channel = channel
        self._frame_max = min(frame_max or _FRAME_MAX, _FRAME_MAX)

    def publish(self, messages: Sequence[Outgoing]) -> Batch:
        """Writes messages, in order; they are on their way when it returns, or lost with the link."""
        batch = Batch(len(messages), self._event_loop.create_future())
        if self._lost or not messages:
            batch.lose(self._lost)
            return batch
        frames = []
        first = self._published + 1
        for number, message in enumerate(messages, first):
            identity = str(number) if message.mandatory else ""
            frames.append(
                frames_of(message, channel=self._channel, frame_max=self._frame_max, message_id=identity)
            )
        # Nothing is counted that cannot be written.
        self._published += len(messages)
        self._waiting.update(dict.fromkeys(range(first, self._published + 1), batch))
        assert self._output is not None  # it is connected  # noqa: S101
        try:
            self._output.write(b"".join(frames))
        except (RuntimeError, OSError) as error:
            # A connection that was reset, or is being closed, and is not told to be lost yet.
            self.lose(repr(error))
        return batch

    def lose(self, why: str) -> None:
        """Gives the link up: nothing that waits for an answer will get one."""
        self._lost = why
        waiting, self._waiting = self._waiting, {}
        for batch in dict.fromkeys(waiting.values()):
            batch.lose(why)

    def _accept(self, kind: int, payload: bytes) -> bool:
        if kind != METHOD:
            return self._continue_return(kind, payload)
        if payload.startswith(_ACK):
            self._answer(payload, taken=True)
        elif payload.startswith(_NACK):
            self._answer(payload, taken=False)
        elif payload.startswith(_RETURN):
            self._partial_return = Content()
        else:
            return False
        return True

    def _answer(self, payload: bytes, *, taken: bool) -> None:
        (number,) = LONG_LONG.unpack_from(payload, _TAG_AT)
        if payload[_FLAGS_AT] & _MULTIPLE:
            numbers = list(takewhile(lambda each: each <= number, self._waiting))
        else:
            numbers = [number]
        for each in numbers:
            batch = self._waiting.pop(each, None)
            if batch is None:
                continue
            is_returned = each in self._returned
            self._returned.discard(each)
            batch.returned += is_returned
            batch.answered(taken=taken and not is_returned)

    def _continue_return(self, kind: int, payload: bytes) -> bool:
        if self._partial_return is None:
            return False
        if self._partial_return.add_frame(kind, payload):
            header = ContentHeader()
            header.unmarshal(self._partial_return.header)
            self._returned.add(int(header.properties.message_id or 0))
            self._partial_return = None
        return True


class Confirms(Transports[ConfirmProtocol]):
    """Makes the transports of one publishing link after the other."""

    def __init__(self) -> None:
        super().__init__(lambda reader: ConfirmProtocol(reader, loop=asyncio.get_running_loop()))
