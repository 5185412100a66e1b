"""The long run: faults of all kinds, one after the other, in an order that the seed decides.

make torture SECONDS=600 SEED=1
"""

import argparse
import asyncio
import random
import sys
import time
from pathlib import Path
from typing import Final

import uvloop

sys.path.insert(0, str(Path(__file__).parent.parent))

from rest import Api

from torture.cluster import Cluster, ground
from torture.faults import FAULTS, LONG_AWAY, Fault
from torture.run import Figures, People, Run, running

LONG_AWAY_FROM_SECONDS: Final = 300
"""Runs of this length have RabbitMQ away for a minute, too."""
SHOWN: Final = 50


def say(what: str) -> None:
    """A line of progress."""
    sys.stdout.write(f"{what}\n")
    sys.stdout.flush()


def chosen(seconds: float, rng: random.Random) -> list[Fault]:
    """Enough faults for so long: every kind once, in any order, before one comes again."""
    faults: list[Fault] = []
    while sum(sum(fault.lasts) + sum(fault.rests) for fault in faults) / 2 < 1.5 * seconds:
        faults += rng.sample(FAULTS, len(FAULTS))
    if seconds >= LONG_AWAY_FROM_SECONDS:
        faults.insert(len(FAULTS) // 2, LONG_AWAY)
    return faults


async def inflict(run: Run, seconds: float, rng: random.Random) -> None:
    """One fault after the other, until the time is up."""
    end = run.began + seconds
    for number, fault in enumerate(chosen(seconds, rng), 1):
        if time.monotonic() > end:
            return
        lasts, rests = rng.uniform(*fault.lasts), rng.uniform(*fault.rests)
        async with run.fault(fault.kind, fault.inflict):
            await asyncio.sleep(lasts)
        await asyncio.sleep(rests)
        elapsed = time.monotonic() - run.began
        memory = " ".join(f"{unit.name} {unit.memory >> 20}" for unit in run.cluster.units)
        say(
            f"{elapsed:6.0f} s  {number:3} {fault.kind:28} {lasts:4.1f} s   posts {len(run.history.posts):7}"
            f"   behind {run.backlog():5}   wrong {len(run.history.violations)}   MiB: {memory}"
        )


async def tortured(seconds: float, seed: int) -> Figures:
    """A run of about that length."""
    rng = random.Random(seed)
    async with ground() as servers, Cluster(servers) as cluster:
        async with Api(cluster.those("api")[0].service.url) as api:
            people = await People.registered(api)
        async with running(cluster, people, seed=seed) as run:
            await inflict(run, seconds, rng)
            return await run.finish()


def main() -> int:
    """Runs, prints the figures; 1 when something was wrong."""
    parser = argparse.ArgumentParser(prog="make torture")
    parser.add_argument("--seconds", type=float, default=600)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6))
    options = parser.parse_args()
    say(f"make torture SECONDS={options.seconds:g} SEED={options.seed}")
    figures = uvloop.run(tortured(options.seconds, options.seed))
    say("\n".join(figures.lines()))
    for violation in figures.violations[:SHOWN]:
        say(f"WRONG, {violation.kind}: {violation.what}")
    return 1 if figures.violations else 0


if __name__ == "__main__":
    sys.exit(main())
