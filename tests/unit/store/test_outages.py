"""A store that can be done without: asked while it answers, left alone for a while after it did not."""

import asyncio

import pytest
from redis.exceptions import RedisError
from structlog.testing import capture_logs

from shared.store import outages
from shared.store.outages import OptionalStore, error_name


async def fail(error: Exception) -> int:
    raise error


async def test_an_answer_is_passed_on() -> None:
    """The store stays in use."""
    store = OptionalStore("store.skipped", seconds=60.0)
    assert await store.ask(asyncio.sleep(0, 7)) == 7
    assert not store.away


@pytest.mark.parametrize("error", [RedisError("gone"), OSError("gone"), TimeoutError("gone")])
async def test_a_failure_is_no_answer_and_is_logged(error: Exception) -> None:
    """With the event and fields of whoever asks; from then on the store is away."""
    store = OptionalStore("store.skipped", seconds=60.0, store="cache")
    with capture_logs() as logged:
        assert await store.ask(fail(error), what="read") is None
    assert logged == [
        {
            "event": "store.skipped",
            "log_level": "warning",
            "store": "cache",
            "what": "read",
            "reason": repr(error),
        }
    ]
    assert store.away


async def test_a_reason_may_be_the_errors_name_alone() -> None:
    """Its text may hold an address."""
    store = OptionalStore("store.skipped", seconds=60.0, reason=error_name)
    with capture_logs() as logged:
        await store.ask(fail(RedisError("redis://user:secret@host")))
    assert [entry["reason"] for entry in logged] == ["RedisError"]


async def test_an_answer_that_takes_too_long_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    """A store that hangs is as good as one that is gone."""
    monkeypatch.setattr(outages, "ANSWER_SECONDS", 0.01)
    store = OptionalStore("store.skipped", seconds=60.0)
    async with asyncio.timeout(5.0):
        assert await store.ask(asyncio.sleep(60.0, 7)) is None
    assert store.away


async def test_a_store_is_asked_again_after_its_time() -> None:
    """It may be back."""
    store = OptionalStore("store.skipped", seconds=0.2)
    await store.ask(fail(OSError()))
    assert store.away
    await asyncio.sleep(0.25)
    assert not store.away


async def test_other_errors_pass() -> None:
    """They are not the store's; it is not left alone for them."""
    store = OptionalStore("store.skipped", seconds=60.0)
    with pytest.raises(LookupError):
        await store.ask(fail(LookupError()))
    assert not store.away


async def test_a_cancelled_question_is_cancelled() -> None:
    """An order to stop is no failure of the store."""
    store = OptionalStore("store.skipped", seconds=60.0)
    asking = asyncio.create_task(store.ask(asyncio.sleep(60.0)))
    await asyncio.sleep(0)
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    assert not store.away
