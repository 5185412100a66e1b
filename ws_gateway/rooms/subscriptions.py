"""A client's socket and its subscriptions of rooms. Each knows the other, so they stand in one file."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Final

from shared.events import chat_room
from shared.http.rate_limit import TokenBucket
from ws_gateway.transport.connection import Connection, Sender
from ws_gateway.transport.frames import Frame

CHAT_PREFIX: Final = chat_room("")
JOINS_AT_ONCE: Final = 4
"""Of one socket: each may be answered with a megabyte, which waits if the client does not read."""


class JoinBuffer:
    """The frames of a room while a socket joins it, in order; past `bound` of them some are lost."""

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
        """Yields all but the messages numbered up to `last_seq`."""
        return (frame for seq, frame in self._frames if seq is None or seq > last_seq)


@dataclass(slots=True)
class _RoomLock:
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    users: int = 0


@dataclass(slots=True, eq=False)
class Socket:
    """One client's socket.

    Attributes:
        sid: its Socket.IO id, which the client knows.
        expires_at: Unix second at which `token` expires.
        bucket: what it may ask; None when that is not limited.
        flood_bucket: how often it may be refused for asking more, before it is closed.
        chats: its subscriptions of chat rooms, by room.
        own: its subscription of its user's room.
        gone: it is no more.
        timer: fires when its token is about to expire, or expires.
        join_slots: so many join-chats are answered at once.
    """

    sid: str
    connection: Connection
    user_id: str
    name: str
    session_id: str
    token: str
    expires_at: int
    bucket: TokenBucket | None = None
    flood_bucket: TokenBucket | None = None
    chats: "dict[str, Subscription]" = field(default_factory=dict)
    own: "Subscription | None" = None
    gone: bool = False
    timer: asyncio.TimerHandle | None = None
    join_slots: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(JOINS_AT_ONCE))
    _room_locks: dict[str, _RoomLock] = field(default_factory=dict)

    @asynccontextmanager
    async def room_lock(self, room: str) -> AsyncIterator[None]:
        """Lets one request of the client about a room run at a time, in the order asked."""
        lock = self._room_locks.setdefault(room, _RoomLock())
        lock.users += 1
        try:
            async with lock.lock:
                yield
        finally:
            lock.users -= 1
            if not lock.users:
                del self._room_locks[room]


@dataclass(slots=True, eq=False)
class Subscription:
    """A socket's place in a room.

    Attributes:
        buffer: keeps what comes while the socket is joining; None when frames go straight to it.
        joined: the client was told that it is in.
        leased: it counts among those for whom the gateway holds the room.
        present: it counts for its user's presence in the chat.
        ended: the socket was put out, left or is gone; final.
        sender: takes what is sent to it.
        confirmed_at: the loop's time when the API was last asked and said that the user is a member.
    """

    socket: Socket
    room: str
    buffer: JoinBuffer | None
    joined: bool = False
    leased: bool = False
    present: bool = False
    ended: bool = False
    confirmed_at: float = 0.0
    sender: Sender = field(init=False)

    def __post_init__(self) -> None:
        self.sender = self.socket.connection.sender

    @property
    def chat_id(self) -> str:
        """The chat whose room it is; of a chat's room only."""
        return self.room.removeprefix(CHAT_PREFIX)
