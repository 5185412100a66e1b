"""Instances of the API that post, offer events to the leader and relay."""

import asyncio
from collections.abc import AsyncIterator, Coroutine, Sequence
from contextlib import asynccontextmanager
from itertools import count
from random import random
from typing import Any

import asyncpg
import pytest
from integration.outbox.publisher import Ear
from support.database import Database
from support.posting import post_of

from chat_api.chats.group_commit import Poster
from chat_api.database.connections import connect
from chat_api.outbox import relay
from chat_api.outbox.leader import Leader
from shared.events import Event


class UnevenEar(Ear):
    """Hears some batches at once, others after up to 10 ms."""

    async def publish(self, events: Sequence[Event]) -> None:
        self.seconds = max(0.0, 0.02 * random() - 0.01)
        await super().publish(events)


class Broker(Ear):
    """Confirms the events of a chat when it is allowed to.

    Attributes:
        came: the events of each batch as they came, confirmed or not.
        held: the chats whose batches wait.
    """

    def __init__(self) -> None:
        super().__init__()
        self.came: list[list[Event]] = []
        self.held: dict[str, asyncio.Event] = {}
        self._came_more = asyncio.Event()

    def hold(self, chat: str) -> None:
        self.held[chat] = asyncio.Event()

    async def publish(self, events: Sequence[Event]) -> None:
        self.came.append(list(events))
        self._came_more.set()
        for event in events:
            if event.subject in self.held:
                await self.held[event.subject].wait()
        await super().publish(events)

    async def until_came(self, number: int) -> None:
        async with asyncio.timeout(10):
            while len(self.came) < number:
                self._came_more.clear()
                await self._came_more.wait()


class Prompt(Broker):
    """Notes what it is handed before anybody awaits it."""

    def __init__(self) -> None:
        super().__init__()
        self.handed = 0

    def publish(self, events: Sequence[Event]) -> Coroutine[Any, Any, None]:
        self.handed += len(events)
        return super().publish(events)


class Instance:
    """One API's poster and relay; `statements` are those that its relay sent."""

    def __init__(self, database: Database, ear: Ear) -> None:
        self._url = database.url
        self.statements: list[str] = []
        self.relay = Leader(self._watched, ear)
        self.poster = Poster(lambda: connect(self._url), self.relay)

    @property
    def looks(self) -> list[str]:
        """The statements that looked into the outbox."""
        return [each for each in self.statements if "published_at IS NULL" in each]

    @property
    def marks(self) -> list[str]:
        """The statements that marked events as published."""
        return [each for each in self.statements if "SET published_at" in each]

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        tasks = [asyncio.create_task(each.run()) for each in (self.relay, self.poster)]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)

    async def leading(self) -> None:
        async with asyncio.timeout(10):
            while not self.relay.leads:  # noqa: ASYNC110  a relay tells nobody
                await asyncio.sleep(0.01)

    async def _watched(self) -> asyncpg.Connection:
        connection = await connect(self._url)
        connection.add_query_logger(lambda logged: self.statements.append(logged.query))
        return connection


@asynccontextmanager
async def relaying_without_a_look(
    database: Database, broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Instance]:
    """An instance that leads, and publishes what it stores without looking, from now on."""
    monkeypatch.setattr(relay, "LOOK_SECONDS", 60.0)
    user = await database.user()
    chat = await database.chat(user)
    instance = Instance(database, broker)
    async with instance.running():
        await instance.leading()
        for number in count(1):
            instance.statements.clear()
            await instance.poster.post(post_of(chat, user))
            await broker.until(number)
            if not instance.looks:  # whoever ran when it began to lead has ended
                break
        broker.came.clear()
        broker.heard.clear()
        yield instance
