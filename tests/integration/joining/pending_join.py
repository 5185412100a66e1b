"""A join whose answer the test holds back."""

import asyncio
from typing import Self

from support.clients import Ack, PythonClient
from support.gateways import RunningGateway

from shared.events import (
    MEMBER_REMOVED,
    Event,
    MemberRemoved,
    chat_room,
    user_room,
)


class PendingJoin:
    """A join whose question the API has got and not answered yet."""

    def __init__(self, gateway: RunningGateway, client: PythonClient, *asked: object) -> None:
        self._gateway = gateway
        self._client = client
        self._asked = asked
        self.answer: asyncio.Task[Ack]

    async def __aenter__(self) -> Self:
        self._gateway.api.gate.clear()
        self._gateway.api.arrived.clear()
        self.answer = asyncio.create_task(self._client.emit("join-chat", *self._asked))
        await self._gateway.api.arrived.wait()
        return self

    async def __aexit__(self, *_: object) -> None:
        self._gateway.api.gate.set()
        await asyncio.wait([self.answer])


def member_removed(chat_id: str, user_id: str) -> Event:
    return Event(
        type=MEMBER_REMOVED,
        name="member-removed",
        body=MemberRemoved(chat_id=chat_id, user_id=user_id).json_bytes(),
        subject=chat_id,
        rooms=(chat_room(chat_id), user_room(user_id)),
    )


def numbers(client: PythonClient) -> list[int]:
    return [message["seq"] for message in client.bodies("new-msg")]
