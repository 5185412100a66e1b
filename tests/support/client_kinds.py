"""Kinds of clients that tests run with, and the types of the fixtures that make them."""

from collections.abc import Awaitable, Callable
from typing import Final, Protocol

import pytest

from support.clients import SocketClient
from support.rest import Person
from support.stack import Service

TRANSPORTS: Final = {
    "js-websocket": ["websocket"],
    "js-polling": ["polling"],
    "js-upgrade": ["polling", "websocket"],
    "python-websocket": ["websocket"],
    "python-polling": ["polling"],
}
each_client = pytest.mark.parametrize("client_kind", ["js-websocket", "js-polling", "python-websocket"])

Register = Callable[[str], Awaitable[Person]]
NewClient = Callable[[str], SocketClient]


class Connect(Protocol):
    """Opens sockets; see the fixture `connect`."""

    async def __call__(
        self,
        person: Person,
        *,
        joining: str | None = None,
        at: Service | None = None,
        kind: str | None = None,
        token: str | None = None,
    ) -> SocketClient:
        """A connected socket of `person`, in the room of the chat `joining`."""


async def settled(person: Person, client: SocketClient) -> None:
    """Returns when everything that was posted before has passed this client's gateway.

    The outbox is relayed in order, so what is about this new chat comes after all that was written before.
    """
    chat_id = await person.open_chat(title="Marker")
    await client.wait("chat-created", where=lambda chat: chat["id"] == chat_id)
