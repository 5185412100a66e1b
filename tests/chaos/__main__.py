"""The long run: faults of all kinds, one after the other, in an order that the seed decides.

make torture SECONDS=600 SEED=1
make torture SECONDS=600 SEED=1 FREEZES=1
"""

import argparse
import random
import sys
import time
from pathlib import Path
from typing import Final

import uvloop

sys.path.insert(0, str(Path(__file__).parent.parent))

from support.rest import Api

from chaos.cluster import Cluster, ground
from chaos.figures import Figures
from chaos.run import People, Run, running
from chaos.schedule import inflicted

SHOWN: Final = 50


def say(what: str) -> None:
    """A line of progress."""
    sys.stdout.write(f"{what}\n")
    sys.stdout.flush()


async def inflict(run: Run, seconds: float, rng: random.Random, *, freezes: bool) -> None:
    """One fault after the other, with a line for each."""
    number = 0
    async for fault, lasted in inflicted(run, seconds, rng, freezes=freezes):
        number += 1
        elapsed = time.monotonic() - run.began
        memory = " ".join(f"{unit.name} {unit.memory >> 20}" for unit in run.cluster.units)
        say(
            f"{elapsed:6.0f} s  {number:3} {fault.kind:41} {lasted:4.1f} s   posts {len(run.history.posts):7}"
            f"   behind {run.backlog():5}   wrong {len(run.history.violations)}   MiB: {memory}"
        )


async def tortured(seconds: float, seed: int, *, freezes: bool) -> Figures:
    """A run of about that length."""
    rng = random.Random(seed)
    async with ground() as servers, Cluster(servers) as cluster:
        async with Api(cluster.those("api")[0].service.url) as api:
            people = await People.registered(api)
        async with running(cluster, people, seed=seed) as run:
            await inflict(run, seconds, rng, freezes=freezes)
            return await run.finish()


def main() -> int:
    """Runs, prints the figures; 1 when something was wrong."""
    parser = argparse.ArgumentParser(prog="make torture")
    parser.add_argument("--seconds", type=float, default=600)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6))
    parser.add_argument(
        "--freezes", action="store_true", help="only faults that last, for half a minute and more"
    )
    options = parser.parse_args()
    kind = " FREEZES=1" if options.freezes else ""
    say(f"make torture SECONDS={options.seconds:g} SEED={options.seed}{kind}")
    figures = uvloop.run(tortured(options.seconds, options.seed, freezes=options.freezes))
    say("\n".join(figures.lines()))
    for violation in figures.violations[:SHOWN]:
        say(f"WRONG, {violation.kind}: {violation.what}")
    return 1 if figures.violations else 0


if __name__ == "__main__":
    sys.exit(main())
