"""The ack policy, the same on every bus: acknowledge, retry with a bound, or make a dead letter."""

import asyncio
from collections.abc import Awaitable
from dataclasses import dataclass
from random import uniform
from typing import Final

from shared.bus import PoisonedEventError
from shared.concurrency.cancellation import is_cancelling
from shared.concurrency.waiting import wait_for_event
from shared.events import UndecodableEventError

ATTEMPTS: Final = 5
"""How often a job is tried, by whichever consumer, before it becomes a dead letter."""
_PAUSES: Final = (0.5, 2.0, 5.0, 10.0)
"""Seconds before the second, third, … try, give or take half."""


class HandlerCancelledError(Exception):
    """The handler was cancelled by something within it."""


@dataclass(frozen=True, slots=True)
class Done:
    """The job is acknowledged."""


@dataclass(frozen=True, slots=True)
class Retry:
    """It is delivered again, after a pause."""

    seconds: float


@dataclass(frozen=True, slots=True)
class GiveUp:
    """It becomes a dead letter."""

    reason: str


Verdict = Done | Retry | GiveUp


async def failure_of(handling: Awaitable[None]) -> Exception | None:
    """Waits for `handling`; returns how it failed, or None."""
    try:
        await handling
    except asyncio.CancelledError:
        if is_cancelling():
            raise
        return HandlerCancelledError()
    except Exception as failure:  # noqa: BLE001  whatever it is, there is a verdict on it
        return failure
    return None


async def pause(seconds: float, *, unless: asyncio.Event) -> None:
    """Waits for `seconds`, or until `unless` is set."""
    await wait_for_event(unless, seconds=seconds)


def verdict(failure: Exception | None, *, attempt: int) -> Verdict:
    """Returns what follows the `attempt`-th handling (1, 2, …), which ended with `failure`."""
    match failure:
        case None:
            return Done()
        case PoisonedEventError() | UndecodableEventError():
            return GiveUp(_described(failure))
        case _ if attempt >= ATTEMPTS:
            return GiveUp(f"failed {attempt} times, at last with {_described(failure)}")
        case _:
            return Retry(_PAUSES[min(attempt, len(_PAUSES)) - 1] * uniform(0.5, 1.5))  # noqa: S311  not a secret


def _described(failure: Exception) -> str:
    return f"{type(failure).__name__}: {failure}"[:1000]
