"""Marking what is published: what comes within a moment together."""

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime
from itertools import count
from math import inf
from time import monotonic

import pytest

from chat_api.outbox import marking
from chat_api.outbox.marking import Marking
from chat_api.outbox.record import Recorded
from shared.events import Event

POSITIONS = count(1)


def published(number: int) -> list[Recorded]:
    event = Event(type="chat.read", body=b"{}", subject="chat", name="read", rooms=("chat:1",))
    return [Recorded(next(POSITIONS), datetime(2026, 11, 21, tzinfo=UTC), event) for _ in range(number)]


class Store:
    """Keeps the groups that were marked; the next mark may be held or fail."""

    def __init__(self) -> None:
        self.marked: list[list[Recorded]] = []
        self.free = asyncio.Event()
        self.free.set()
        self.away = False
        self.woken = asyncio.Event()
        self.marking = Marking(self.mark, wake=self.woken.set)

    async def mark(self, recorded: Sequence[Recorded]) -> None:
        await self.free.wait()
        if self.away:
            raise OSError("away")
        self.marked.append(list(recorded))

    async def until_due(self) -> None:
        async with asyncio.timeout(5):
            await self.woken.wait()
        self.woken.clear()
        await asyncio.sleep(max(0.0, self.marking.due_at - monotonic()))


async def test_what_comes_within_a_moment_is_marked_together() -> None:
    store = Store()
    first, second = published(1), published(2)
    store.marking.add(first)
    await store.marking.mark_due()
    assert not store.marking.tasks
    store.marking.add(second)
    await store.until_due()
    await store.marking.mark_due()
    await store.marking.wait()
    assert store.marked == [first + second]
    assert store.marking.due_at == inf


async def test_a_marking_goes_on_beside_and_the_next_begins_after_it() -> None:
    store = Store()
    store.free.clear()
    store.marking.add(first := published(1))
    await store.until_due()
    await store.marking.mark_due()
    await asyncio.sleep(0)
    store.marking.add(second := published(1))
    assert store.marking.due_at == inf
    store.marking.reap()
    assert len(store.marking.tasks) == 1
    store.woken.clear()
    store.free.set()
    async with asyncio.timeout(5):
        await store.woken.wait()
    store.marking.reap()
    assert not store.marking.tasks
    assert store.marking.due_at < inf
    await store.marking.mark()
    assert store.marked == [first, second]


async def test_nothing_published_begins_no_wait() -> None:
    store = Store()
    store.marking.add(())
    assert store.marking.due_at == inf


async def test_many_are_marked_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(marking, "MOST_UNMARKED", 3)
    store = Store()
    store.marking.add(many := published(3))
    await store.marking.mark_due()
    assert store.marked == [many]


async def test_what_is_taken_is_the_callers_to_mark() -> None:
    store = Store()
    store.marking.add(some := published(2))
    assert store.marking.take_unmarked() == some
    await store.marking.mark()
    assert store.marked == []


async def test_a_marking_that_fails_is_heard_of() -> None:
    store = Store()
    store.away = True
    store.marking.add(published(1))
    await store.until_due()
    await store.marking.mark_due()
    with pytest.raises(OSError, match="away"):
        await store.marking.wait()
    with pytest.raises(OSError, match="away"):
        store.marking.reap()
