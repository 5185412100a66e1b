"""The order of faults, by the seed."""

import asyncio
import random
import time
from collections.abc import AsyncIterator
from typing import Final

from chaos.kinds import FAULTS, FREEZES, LONG_AWAY, Fault
from chaos.run import Run

LONG_AWAY_FROM_SECONDS: Final = 300
"""Runs of this length have RabbitMQ away for a minute, too."""


def scheduled(seconds: float, rng: random.Random, *, freezes: bool = False) -> list[Fault]:
    """More than enough faults for so long: every kind once, in any order, before one comes again.

    `freezes`: only those that last, one of each link and process.
    """
    kinds = FREEZES if freezes else FAULTS
    faults: list[Fault] = []
    while sum(fault.rests[0] for fault in faults) < seconds:
        faults += rng.sample(kinds, len(kinds))
    if freezes:
        return faults
    if seconds >= LONG_AWAY_FROM_SECONDS:
        faults.insert(len(FAULTS) // 2, LONG_AWAY)
    return faults


async def inflicted(
    run: Run, seconds: float, rng: random.Random, *, freezes: bool = False
) -> AsyncIterator[tuple[Fault, float]]:
    """Inflicts one fault after the other until the time is up; after each, it and how long it lasted."""
    end = run.began + seconds
    for fault in scheduled(seconds, rng, freezes=freezes):
        if time.monotonic() > end:
            return
        lasts, rests = rng.uniform(*fault.lasts), rng.uniform(*fault.rests)
        async with run.fault(fault.kind, fault.inflict):
            await asyncio.sleep(lasts)
        await asyncio.sleep(rests)
        yield fault, lasts
