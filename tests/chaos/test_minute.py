"""A part of the long run (`make torture`), with a seed whose first faults are of kinds that matter."""

import random
from collections.abc import Callable
from typing import Final

import pytest

from chaos.cluster import Cluster
from chaos.run import People, running
from chaos.schedule import inflicted

SEED: Final = 1332
SECONDS: Final = 60.0


@pytest.mark.timeout(300)
async def test_a_minute_of_faults_breaks_no_promise(
    cluster: Cluster, people: People, record_property: Callable[[str, object], None]
) -> None:
    """Nothing lost, repeated, out of order, unsignalled or invented; no request without its one end."""
    async with running(cluster, people, seed=SEED) as run:
        async for _ in inflicted(run, SECONDS, random.Random(SEED)):
            pass
        figures = await run.finish()
    record_property("figures", "\n  ".join([f"seed {SEED}", *figures.lines()]))
    assert figures.violations == []
