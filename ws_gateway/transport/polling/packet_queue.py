"""The queue of one python-engineio session: packets for the next poll, bounded in bytes as well as in number.

It replaces the `asyncio.Queue` that `engineio.AsyncSocket` fills and reads, which knows no bounds.
"""

import asyncio
from collections.abc import Callable
from typing import Any, Final

from engineio import packet as eio

from ws_gateway.transport.frames import Frame

PACKETS_PER_POLL: Final = 16
"""python-engineio's client takes no more in one body."""


class MessagePacket(eio.Packet):  # type: ignore[misc]  # python-engineio has no types
    """A frame as python-engineio's queues hold it."""

    def __init__(self, frame: Frame) -> None:
        super().__init__(eio.MESSAGE, frame.text)
        self.frame = frame


class PacketQueue(asyncio.Queue[Any]):
    """A session's packets. `AsyncSocket.poll` waits for one and takes on while there are more.

    Attributes:
        waiting_bytes: bytes of events that wait.
        answer_bytes: bytes of answers that wait.
    """

    _taken = 0
    _sink: Callable[[Any], None] | None = None
    waiting_bytes = 0
    answer_bytes = 0

    def pour_into(self, sink: Callable[[Any], None]) -> None:
        """Passes to `sink` what is queued, and what would be queued from now on."""
        while not self.empty():
            sink(super().get_nowait())
        self._sink = sink

    def drop_droppable(self) -> None:
        """Drops the events that the client may go without."""
        kept = [  # _queue: asyncio's deque
            each
            for each in self._queue  # type: ignore[attr-defined]
            if not (isinstance(each, MessagePacket) and each.frame.droppable)
        ]
        self._queue.clear()  # type: ignore[attr-defined]
        self._queue.extend(kept)  # type: ignore[attr-defined]
        self.waiting_bytes = sum(map(_size, kept))

    def put_nowait(self, item: Any) -> None:
        """Queues a packet, or passes it on; one that only answers a poll is dropped where others wait."""
        if self._sink is not None:
            self._sink(item)
        elif self.empty() or not _only_answers_a_poll(item):  # what waits answers it too
            super().put_nowait(item)

    def _put(self, item: Any) -> None:
        self.waiting_bytes += _size(item)
        self.answer_bytes += _size(item, answers=True)
        super()._put(item)

    def _get(self) -> Any:
        item = super()._get()
        self.waiting_bytes -= _size(item)
        self.answer_bytes -= _size(item, answers=True)
        return item

    async def get(self) -> Any:
        """Waits for the first packet of a poll."""
        self._taken = 0
        return await super().get()

    def get_nowait(self) -> Any:
        """Returns the next packet of the same poll.

        Raises:
            asyncio.QueueEmpty: there is none, or the poll holds as many as it may.
        """
        if self._taken == PACKETS_PER_POLL:
            raise asyncio.QueueEmpty
        packet = super().get_nowait()
        self._taken += 1
        return packet


def end_reader(engine_socket: Any) -> None:
    """Ends the wait for a session's packets: after those queued so far there will be no more."""
    if not engine_socket.upgraded:
        engine_socket.queue.put_nowait(eio.Packet(eio.NOOP))  # an open poll has to be answered with something
    engine_socket.queue.put_nowait(None)


def _only_answers_a_poll(packet: Any) -> bool:
    return packet is not None and packet.packet_type == eio.NOOP


def _size(packet: Any, *, answers: bool = False) -> int:
    """Returns the bytes that a packet counts for among the events that wait, or among the answers."""
    counts = isinstance(packet, MessagePacket) and packet.frame.answers is answers
    return len(packet.frame.wire) if counts else 0
