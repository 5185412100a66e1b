"""Waiting, pausing, and running beside a block: what holds however a cancellation comes."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from itertools import islice

import pytest

from shared.concurrency.background import background
from shared.concurrency.backoff import backoff
from shared.concurrency.cancellation import is_cancelling, raise_if_cancelled
from shared.concurrency.waiting import wait_for_event

BOUND = 3.0
LONG = 60.0


@asynccontextmanager
async def bounded() -> AsyncIterator[None]:
    """Fails what would wait for ever."""
    async with asyncio.timeout(BOUND):
        yield


class Work:
    """Something that goes on for ever, and swallows so many cancellations before it ends with one."""

    def __init__(self, *, swallows: int = 0, last_words: float = 0.0) -> None:
        self._swallows = swallows
        self._last_words = last_words
        self.began = asyncio.Event()
        self.cancelled = 0
        self.ended = False

    async def run(self) -> None:
        self.began.set()
        try:
            while True:
                try:
                    await asyncio.sleep(LONG)
                except asyncio.CancelledError:
                    self.cancelled += 1
                    if self.cancelled > self._swallows:
                        await asyncio.sleep(self._last_words)
                        raise
        finally:
            self.ended = True


async def test_an_event_that_is_set_is_not_waited_for() -> None:
    """Not even where there is no time to wait."""
    event = asyncio.Event()
    event.set()
    for seconds in (LONG, 0.0, -1.0):
        async with bounded():
            assert await wait_for_event(event, seconds=seconds)


async def test_an_event_set_meanwhile_ends_the_wait() -> None:
    """At once, not at the end of the bound."""
    event = asyncio.Event()
    asyncio.get_running_loop().call_later(0.01, event.set)
    async with bounded():
        assert await wait_for_event(event, seconds=LONG)


async def test_an_event_that_is_not_set_is_waited_for_no_longer_than_the_bound() -> None:
    """The answer is then that it is not."""
    began = time.monotonic()
    async with bounded():
        assert not await wait_for_event(asyncio.Event(), seconds=0.05)
    assert 0.04 < time.monotonic() - began < BOUND


@pytest.mark.parametrize("set_after", [0.02, 0.04], ids=["just before", "just after"])
async def test_an_event_set_at_the_very_end_of_the_bound_is_set(set_after: float) -> None:
    """The event loop learns of both in one turn, in either order."""
    event = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.call_later(0.01, time.sleep, 0.05)  # all that is due meanwhile is done in the turn after
    loop.call_later(set_after, event.set)
    assert await wait_for_event(event, seconds=0.03)


@pytest.mark.parametrize("is_set", [False, True])
async def test_a_cancelled_wait_is_cancelled(*, is_set: bool) -> None:
    """Also one whose event is set in the same turn: nothing swallows an order to stop."""
    event = asyncio.Event()
    waiting = asyncio.create_task(wait_for_event(event, seconds=LONG))
    await asyncio.sleep(0)
    if is_set:
        event.set()
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert waiting.cancelled()


def test_pauses_double_up_to_the_longest() -> None:
    """Each is between half and the whole of its step."""
    steps = [0.1, 0.2, 0.4, 0.8, 1.0, 1.0, 1.0]
    for _ in range(100):
        pauses = list(islice(backoff(first=0.1, most=1.0), len(steps)))
        assert all(step / 2 <= pause <= step for step, pause in zip(steps, pauses, strict=True))


def test_pauses_differ() -> None:
    """Many who lost the same server come back apart."""
    assert len({next(backoff()) for _ in range(100)}) > 90


async def test_work_runs_beside_the_block_and_ends_with_it() -> None:
    """It is over when the block is left, and the group has nothing left to wait for."""
    one, other = Work(), Work()
    async with bounded(), asyncio.TaskGroup() as tasks:
        async with background(tasks, one.run(), other.run()):
            await one.began.wait()
            await other.began.wait()
            assert not one.ended
        assert (one.ended, other.ended) == (True, True)
    assert (one.cancelled, other.cancelled) == (1, 1)


async def test_work_ends_with_a_block_that_fails() -> None:
    """The failure passes as it is; the group goes on."""
    work = Work()

    async def block(tasks: asyncio.TaskGroup) -> None:
        async with background(tasks, work.run()):
            await work.began.wait()
            raise LookupError

    async with bounded(), asyncio.TaskGroup() as tasks:
        with pytest.raises(LookupError):
            await block(tasks)
        assert work.ended


async def test_work_ends_with_a_group_that_is_cancelled() -> None:
    """It is over before the block is left, whatever it did with the group's cancellation."""
    work = Work(swallows=2)
    ended_with_block = False

    async def fail() -> None:
        await work.began.wait()
        raise LookupError

    async def group() -> None:
        nonlocal ended_with_block
        async with bounded(), asyncio.TaskGroup() as tasks:
            tasks.create_task(fail())
            try:
                async with background(tasks, work.run(), grace=0.01):
                    await asyncio.sleep(LONG)
            finally:
                ended_with_block = work.ended

    with pytest.raises(ExceptionGroup) as raised:
        await group()
    assert ended_with_block
    assert [type(each) for each in raised.value.exceptions] == [LookupError]


async def test_work_that_swallowed_a_cancellation_is_cancelled_again() -> None:
    """As often as it takes, each time after the grace."""
    work = Work(swallows=3)
    began = time.monotonic()
    async with bounded(), asyncio.TaskGroup() as tasks, background(tasks, work.run(), grace=0.05):
        await work.began.wait()
    assert (work.ended, work.cancelled) == (True, 4)
    assert time.monotonic() - began > 0.14


async def test_work_has_its_grace_to_finish() -> None:
    """It is cancelled once, and waited for."""
    work = Work(last_words=0.05)
    async with bounded(), asyncio.TaskGroup() as tasks, background(tasks, work.run(), grace=LONG):
        await work.began.wait()
    assert (work.ended, work.cancelled) == (True, 1)


async def test_work_that_fails_ends_the_block() -> None:
    """The group says with what."""

    async def fail() -> None:
        raise LookupError

    with pytest.raises(ExceptionGroup) as raised:
        async with bounded(), asyncio.TaskGroup() as tasks, background(tasks, fail()):
            await asyncio.sleep(LONG)
    assert [type(each) for each in raised.value.exceptions] == [LookupError]


async def test_work_that_is_over_is_left_alone() -> None:
    """It may end before the block."""
    async with bounded(), asyncio.TaskGroup() as tasks, background(tasks, asyncio.sleep(0)):
        await asyncio.sleep(0.01)


async def test_a_swallowed_cancellation_still_shows() -> None:
    """The task is being cancelled from then on, whoever swallowed it."""
    seen = []

    async def swallow() -> None:
        seen.append(is_cancelling())
        raise_if_cancelled()
        with suppress(asyncio.CancelledError):
            await asyncio.sleep(LONG)
        seen.append(is_cancelling())
        raise_if_cancelled()

    task = asyncio.create_task(swallow())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert seen == [False, True]


async def test_a_cancellation_of_what_is_awaited_is_no_order_to_stop() -> None:
    """aiormq lets one out for a link that is closed."""
    awaited: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    awaited.cancel()
    with pytest.raises(asyncio.CancelledError):
        await awaited
    assert not is_cancelling()
