"""Keys and times in Redis that readers and holders of interest agree on, and how to read its answers."""

from collections.abc import Iterable
from typing import Any, Final

GATEWAYS: Final = "roomcast:gateways"
EPOCH: Final = "roomcast:interest:epoch"

DROPPED: Final = "roomcast:interest:dropped"
"""The channel on which gateways tell the keys of rooms that they no longer hold, joined by `KEY_END`."""

KEY_END: Final = b"\xff"
"""A byte that no text in UTF-8 has."""

HEARTBEAT_SECONDS: Final = 0.5
STALE_SECONDS: Final = 2.5
FORGOTTEN_SECONDS: Final = 60.0
LEASE_SECONDS: Final = 15 * 60
REFRESH_SECONDS: Final = 5 * 60

_ROOM: Final = "roomcast:interest:"


def room_key(room: str) -> str:
    """Returns the key of the set of instances that hold `room`."""
    return _ROOM + room


def keys_of(rooms: Iterable[str]) -> bytes:
    """Returns the keys of the sets of instances that hold these rooms, joined by `KEY_END`."""
    return KEY_END.join([room_key(room).encode() for room in rooms])


def rooms_of(keys: bytes) -> list[str]:
    """Returns the rooms with these keys, which are joined by `KEY_END`."""
    return [key.decode(errors="replace").removeprefix(_ROOM) for key in keys.split(KEY_END)]


def seconds(time: Any) -> float:
    """Returns the answer of TIME, which is (seconds, microseconds), as seconds since 1970."""
    whole, micros = time
    return int(whole) + int(micros) / 1e6


def text(value: bytes | str) -> str:
    """Returns a name from Redis as text, whether or not the client decodes answers."""
    return value.decode() if isinstance(value, bytes) else value
