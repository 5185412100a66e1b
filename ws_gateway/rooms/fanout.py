"""Room to sockets: hands each event's one frame to the connections of all who are in its rooms."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import orjson

from ws_gateway.metrics import DELIVERIES
from ws_gateway.rooms.rooms import Rooms
from ws_gateway.rooms.subscriptions import Socket, Subscription
from ws_gateway.transport.frames import Burst, Frame, event_frame


class Fanout:
    """Sends to rooms and to single sockets. Never waits: each connection has its own queue."""

    def __init__(self, rooms: Rooms) -> None:
        self._rooms = rooms

    def broadcast(
        self, rooms: Sequence[str], frame: Frame, *, seq: int | None = None, skip: str | None = None
    ) -> int:
        """Sends a frame once to each socket in any of `rooms`, but not to the socket with the id `skip`.

        For a socket that is joining, the frame is kept until it has joined; `seq` is the number of the
        message in it, if it is one.

        Returns:
            How many sockets it was sent to or kept for.
        """
        count = 0
        for subscription in self._in_any(rooms):
            if skip is not None and subscription.socket.sid == skip:
                continue
            if subscription.buffer is None:
                subscription.sender.send(frame)
            else:
                subscription.buffer.add(seq, frame)
            count += 1
        DELIVERIES.inc(count)
        return count

    def broadcast_burst(self, rooms: Sequence[str], numbered: Sequence[tuple[int | None, Frame]]) -> int:
        """As `broadcast` of one frame after the other, each with its `seq`; none may be droppable."""
        burst = Burst([frame for _, frame in numbered])
        count = 0
        for subscription in self._in_any(rooms):
            if subscription.buffer is None:
                subscription.sender.send_burst(burst)
            else:
                for seq, frame in numbered:
                    subscription.buffer.add(seq, frame)
            count += 1
        DELIVERIES.inc(count * len(numbered))
        return count

    def emit(self, socket: Socket, name: str, payload: Mapping[str, Any]) -> None:
        """Sends an event to one socket."""
        socket.connection.send(event_frame(name, orjson.dumps(payload)))
        DELIVERIES.inc()

    def release(self, subscription: Subscription, *, above: int = 0) -> bool:
        """Sends what was kept while joining, but messages numbered up to `above`; from now nothing is kept.

        Returns:
            False when not all could be kept: the socket has missed something.
        """
        buffer = subscription.buffer
        if buffer is None:
            return True
        for frame in buffer.above(above):
            subscription.socket.connection.send(frame)
        subscription.buffer = None
        return not buffer.lost

    def _in_any(self, rooms: Sequence[str]) -> Iterable[Subscription]:
        if len(rooms) == 1:
            return self._rooms.of(rooms[0]).values()
        chosen: dict[Socket, Subscription] = {}
        for room in rooms:
            for socket, subscription in self._rooms.of(room).items():
                if socket not in chosen or subscription.buffer is None:
                    chosen[socket] = subscription
        return chosen.values()
