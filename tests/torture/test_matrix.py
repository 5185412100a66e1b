"""The fault matrix: each part killed, each link cut and frozen, under load; nothing acknowledged is lost."""

import asyncio
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Final

import pytest
from stack import Kind

from torture import faults
from torture.cluster import Cluster, Target
from torture.run import People, Run, running

pytestmark = pytest.mark.matrix

SEED: Final = 1
WARM_SECONDS: Final = 0.5
CUT_SECONDS: Final = 0.8
FROZEN_SECONDS: Final = 2.0
RECOVERY_SECONDS: Final = 5.0
LONGEST_SECONDS: Final = 20.0
"""After which something that should have happened long ago counts as never."""
POSTS: Final = 50
"""So many new posts say that posting works."""
POSTS_PER_SECOND: Final = 200
GROWTH_BYTES: Final = 24 * 1024 * 1024

Load = Callable[[], AbstractAsyncContextManager[Run]]


@pytest.fixture
def load(
    cluster: Cluster, people: People, capsys: pytest.CaptureFixture[str], request: pytest.FixtureRequest
) -> Load:
    """Load while the block runs; then everything is judged, and the row's figures are printed."""

    @asynccontextmanager
    async def loaded() -> AsyncIterator[Run]:
        async with running(cluster, people, seed=SEED) as run:
            await run.until_heard(run.began, seconds=LONGEST_SECONDS)
            await asyncio.sleep(WARM_SECONDS)
            yield run
            figures = await run.finish()
        with capsys.disabled():
            sys.stdout.write("\n    ".join([f"\n  {request.node.name}", *figures.lines(), ""]))
        assert figures.violations == []

    return loaded


async def links_fail(run: Run, kind: Kind, *targets: Target) -> None:
    """Cuts each link, then freezes it; all is as before within 5 s of its return."""
    for target in targets:
        for how, word, seconds in (("cut", "cut", CUT_SECONDS), ("freeze", "frozen", FROZEN_SECONDS)):
            async with run.fault(f"link {kind}-{target} {word}", faults.link(kind, target, how)) as fault:
                await asyncio.sleep(seconds)
            assert await run.until_heard(fault.healed, seconds=LONGEST_SECONDS) < RECOVERY_SECONDS


async def test_a_gateway(load: Load) -> None:
    """Killed: its sockets go on at another within 5 s. Its links to the bus, the API, Redis: nothing lost."""
    async with load() as run:
        async with run.fault("gateway killed", faults.kill_service("gateway")) as killed:
            pass
        assert await run.until_heard(killed.began, seconds=LONGEST_SECONDS) < RECOVERY_SECONDS
        await links_fail(run, "gateway", "bus", "api", "redis")


async def test_an_api(load: Load) -> None:
    """The relay leader killed, or cut off from PostgreSQL: another relays within 5 s. Its link to the bus."""
    async with load() as run:
        async with run.fault("relay leader killed", faults.kill_leader) as killed:
            pass
        assert await run.until_heard(killed.began, seconds=LONGEST_SECONDS) < RECOVERY_SECONDS
        async with run.fault("link api-db frozen", faults.link("api", "db", "freeze")) as cut_off:
            assert await run.until_heard(cut_off.began, seconds=LONGEST_SECONDS) < RECOVERY_SECONDS
        await links_fail(run, "api", "bus")


async def test_a_worker(load: Load) -> None:
    """Killed in a reply: another begins it anew, as `thinking` shows; the chunks after that are the reply."""
    async with load() as run:
        for _ in range(2):
            async with run.fault("worker killed in a reply", faults.kill_writer):
                await asyncio.sleep(1.5)
        await links_fail(run, "worker", "bus")
    assert any(times > 1 for witness in run.witnesses for times in witness.attempts.values())
    assert sum(witness.previews for witness in run.witnesses) > 0


async def test_rabbitmq(load: Load, cluster: Cluster) -> None:
    """Killed and away: 201 all the while, no service grows with it; then everything is heard, in order."""
    async with load() as run:
        before = {unit.name: unit.memory for unit in cluster.units}
        async with run.fault("RabbitMQ killed and away", faults.kill_server(faults.rabbitmq)) as away:
            assert await run.until_posted(away.began, POSTS, seconds=LONGEST_SECONDS) < 1
            await asyncio.sleep(2)
        after = {unit.name: unit.memory for unit in cluster.units}
        assert run.posted_since(away.began) > (away.healed - away.began) * POSTS_PER_SECOND
        await run.until_heard(away.healed, seconds=LONGEST_SECONDS)
    assert not run.posters.answers["503"]
    growth = {name: after[name] - before[name] for name in before}
    assert max(growth.values()) < GROWTH_BYTES, growth


async def test_postgresql(load: Load) -> None:
    """Killed, and frozen: 503 with `Retry-After` within 5 s, never a hang; well within 5 s of its return."""
    async with load() as run:
        for kind, inflict, seconds in (
            ("PostgreSQL killed", faults.kill_server(faults.postgres), 1.0),
            ("PostgreSQL frozen", faults.freeze_server(faults.postgres), 5.5),
        ):
            refused = run.posters.answers["503"]
            async with run.fault(kind, inflict) as fault:
                await asyncio.sleep(seconds)
            assert run.posters.answers["503"] > refused
            assert await run.until_posted(fault.healed, POSTS, seconds=LONGEST_SECONDS) < RECOVERY_SECONDS
            assert await run.until_heard(fault.healed, seconds=LONGEST_SECONDS) < RECOVERY_SECONDS


async def test_redis(load: Load, cluster: Cluster) -> None:
    """Killed and back empty: events go to all gateways meanwhile, and interest is refilled."""
    async with load() as run:
        async with run.fault("Redis killed", faults.kill_server(faults.redis)) as killed:
            assert await run.until_heard(killed.began, seconds=LONGEST_SECONDS) < RECOVERY_SECONDS
        assert await run.until_heard(killed.healed, seconds=LONGEST_SECONDS) < RECOVERY_SECONDS
        await cluster.ready()
    for unit in cluster.those("gateway"):
        assert await unit.service.metric("roomcast_interest_refills_total") >= 1
