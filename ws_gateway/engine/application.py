"""The interface of the application above the engine: how it is asked, and how it refuses a client."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from ws_gateway.transport.connection import Connection

Reply = Callable[[bytes], None]
"""Queues the acknowledgement, a JSON value; does nothing when the client asked for none."""


@dataclass(frozen=True, slots=True)
class Arrival:
    """A client that asks for a socket.

    Attributes:
        sid: the socket's id, if it is let in.
        origin: the `Origin` header of its first request, or None.
        auth: what the client gave as `auth`; any JSON value.
    """

    sid: str
    connection: Connection
    origin: str | None
    auth: object


class ArrivalRefusedError(Exception):
    """The client gets a `connect_error` with this message and `data.code`."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class ArrivalPostponedError(Exception):
    """The client can be neither let in nor refused now: its connection is closed, so that it tries again."""


class Application(Protocol):
    """The application that the engine hands clients' packets to."""

    async def admit(self, arrival: Arrival) -> None:
        """Returns when the client may come in.

        Raises:
            ArrivalRefusedError: it may not.
            ArrivalPostponedError: that cannot be told now.
        """

    def connected(self, sid: str) -> None:
        """Learns that an admitted client was told so; what is sent from here on arrives after that."""

    async def asked(self, sid: str, event: object, arguments: list[Any], reply: Reply) -> None:
        """Answers an event of a connected client."""

    def gone(self, sid: str, reason: str) -> None:
        """Learns that an admitted client's socket is no more, whether it ever was connected or not."""
