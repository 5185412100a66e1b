"""Which fault comes when: the seed decides."""

import asyncio
import random
import time
from collections.abc import AsyncIterator
from typing import Final

from torture.faults import FAULTS, LONG_AWAY, Fault
from torture.run import Run

LONG_AWAY_FROM_SECONDS: Final = 300
"""Runs of this length have RabbitMQ away for a minute, too."""


def scheduled(seconds: float, rng: random.Random) -> list[Fault]:
    """More than enough faults for so long: every kind once, in any order, before one comes again."""
    faults: list[Fault] = []
    while sum(fault.rests[0] for fault in faults) < seconds:
        faults += rng.sample(FAULTS, len(FAULTS))
    if seconds >= LONG_AWAY_FROM_SECONDS:
        faults.insert(len(FAULTS) // 2, LONG_AWAY)
    return faults


async def inflicted(run: Run, seconds: float, rng: random.Random) -> AsyncIterator[tuple[Fault, float]]:
    """Inflicts one fault after the other until the time is up; after each, it and how long it lasted."""
    end = run.began + seconds
    for fault in scheduled(seconds, rng):
        if time.monotonic() > end:
            return
        lasts, rests = rng.uniform(*fault.lasts), rng.uniform(*fault.rests)
        async with run.fault(fault.kind, fault.inflict):
            await asyncio.sleep(lasts)
        await asyncio.sleep(rests)
        yield fault, lasts
