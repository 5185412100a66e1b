"""Who is in which room of this gateway. The gateway's own registry; python-socketio's rooms are not used."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

from ws_gateway.rooms.sockets import Socket
from ws_gateway.transport.connection import Sender
from ws_gateway.transport.frames import Frame

_NOBODY: Final[Mapping[Socket, "Subscription"]] = {}


class JoinBuffer:
    """What a room has had for a socket while it was joining, in order; past `bound` events it is lost."""

    __slots__ = ("_bound", "_frames", "lost")

    def __init__(self, bound: int) -> None:
        self._bound = bound
        self._frames: list[tuple[int | None, Frame]] = []
        self.lost = False

    def add(self, seq: int | None, frame: Frame) -> None:
        """Keeps a frame; `seq` is the number of the message in it, if it is one."""
        if len(self._frames) < self._bound:
            self._frames.append((seq, frame))
        else:
            self.lost = True

    def above(self, last_seq: int) -> Iterator[Frame]:
        """All but the messages numbered up to `last_seq`."""
        return (frame for seq, frame in self._frames if seq is None or seq > last_seq)


@dataclass(slots=True, eq=False)
class Subscription:
    """A socket's place in a room.

    Attributes:
        held: what came while the socket is joining; None when frames go straight to it.
        joined: the client was told that it is in.
        leased: it counts among those for whom the gateway holds the room.
        present: it counts for its user's presence in the chat.
        ended: the socket was put out, left or is gone; final.
        sender: takes what is sent to it.
        confirmed_at: the loop's time when the API was last asked and said that the user is a member.
    """

    socket: Socket
    room: str
    held: JoinBuffer | None
    joined: bool = False
    leased: bool = False
    present: bool = False
    ended: bool = False
    confirmed_at: float = 0.0
    sender: Sender = field(init=False)

    def __post_init__(self) -> None:
        self.sender = self.socket.connection.sender


class Rooms:
    """Room name to the subscriptions in it."""

    def __init__(self) -> None:
        self._rooms: dict[str, dict[Socket, Subscription]] = {}

    def enter(self, subscription: Subscription) -> None:
        """Adds a socket's one subscription of a room."""
        self._rooms.setdefault(subscription.room, {})[subscription.socket] = subscription

    def leave(self, subscription: Subscription) -> None:
        """Takes a subscription out."""
        room = self._rooms[subscription.room]
        del room[subscription.socket]
        if not room:
            del self._rooms[subscription.room]

    def of(self, room: str) -> Mapping[Socket, Subscription]:
        """The subscriptions of a room by socket: a live view."""
        return self._rooms.get(room, _NOBODY)

    def __len__(self) -> int:
        return len(self._rooms)
