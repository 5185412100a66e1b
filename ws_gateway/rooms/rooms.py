"""The registry of rooms: which sockets are in which. python-socketio's own rooms are not used."""

from collections.abc import Mapping
from typing import Final

from ws_gateway.rooms.subscriptions import Socket, Subscription

_NOBODY: Final[Mapping[Socket, Subscription]] = {}


class Rooms:
    """The subscriptions in each room, by room name."""

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
        """Returns the subscriptions of a room by socket: a live view."""
        return self._rooms.get(room, _NOBODY)

    def __len__(self) -> int:
        return len(self._rooms)
