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

SEED: Final = 1
WARM_SECONDS: Final = 0.7
CUT_SECONDS: Final = 0.8
FROZEN_SECONDS: Final = 2.5
RECOVERY_SECONDS: Final = 5.0
LONGEST_SECONDS: Final = 20.0
"""After which something that should have happened long ago counts as never."""
POSTS: Final = 50
"""So many new posts say that posting works."""
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


async def test_a_killed_gateway_s_clients_go_on_at_another(load: Load) -> None:
    """Its sockets connect to the other gateway and have caught up within 5 s."""
    async with load() as run:
        async with run.fault("gateway killed", faults.kill_service("gateway")) as killed:
            pass
        assert await run.until_heard(killed.began, seconds=LONGEST_SECONDS) < RECOVERY_SECONDS


@pytest.mark.parametrize(
    ("kind", "target"),
    [
        ("gateway", "bus"),
        ("gateway", "api"),
        ("gateway", "redis"),
        ("api", "db"),
        ("api", "bus"),
        ("api", "redis"),
        ("worker", "bus"),
    ],
)
async def test_a_link_that_is_cut_or_frozen_loses_nothing(load: Load, kind: Kind, target: Target) -> None:
    """While it is and after it, and within 5 s of its return all is as before."""
    async with load() as run:
        for how, word, seconds in (("cut", "cut", CUT_SECONDS), ("freeze", "frozen", FROZEN_SECONDS)):
            async with run.fault(f"link {kind}-{target} {word}", faults.link(kind, target, how)) as fault:
                await asyncio.sleep(seconds)
            assert await run.until_heard(fault.healed, seconds=LONGEST_SECONDS) < RECOVERY_SECONDS


async def test_another_api_takes_over_the_relay(load: Load) -> None:
    """The leader is killed: what is posted right afterwards is heard within 5 s."""
    async with load() as run:
        async with run.fault("relay leader killed", faults.kill_leader) as killed:
            pass
        assert await run.until_heard(killed.began, seconds=LONGEST_SECONDS) < RECOVERY_SECONDS


async def test_a_killed_worker_s_reply_is_finished_by_another(load: Load) -> None:
    """It is begun anew, which is seen by `thinking`, and the chunks after that are the reply."""
    async with load() as run:
        for _ in range(2):
            async with run.fault("worker killed in a reply", faults.kill_writer):
                await asyncio.sleep(1.5)
    assert any(times > 1 for witness in run.witnesses for times in witness.attempts.values())
    assert sum(witness.previews for witness in run.witnesses) > 0


async def test_posts_are_taken_while_rabbitmq_is_away(load: Load, cluster: Cluster) -> None:
    """Killed and away: 201 all the while, no service grows with it; then everything is heard, in order."""
    async with load() as run:
        before = {unit.name: unit.memory for unit in cluster.units}
        async with run.fault("RabbitMQ killed and away", faults.kill_server(faults.rabbitmq)) as away:
            assert await run.until_posted(away.began, POSTS, seconds=LONGEST_SECONDS) < 1
            await asyncio.sleep(2)
        after = {unit.name: unit.memory for unit in cluster.units}
        assert run.posted_since(away.began) > (away.healed - away.began) * 150
        await run.until_heard(away.healed, seconds=LONGEST_SECONDS)
    assert not run.posters.answers["503"]
    growth = {name: after[name] - before[name] for name in before}
    assert max(growth.values()) < GROWTH_BYTES, growth


async def test_posts_are_refused_in_time_while_postgresql_is_killed(load: Load) -> None:
    """503 with `Retry-After` at once; within 5 s of its return all is well."""
    async with load() as run:
        async with run.fault("PostgreSQL killed", faults.kill_server(faults.postgres)) as killed:
            await asyncio.sleep(1.5)
        assert await run.until_posted(killed.healed, POSTS, seconds=LONGEST_SECONDS) < RECOVERY_SECONDS
        assert await run.until_heard(killed.healed, seconds=LONGEST_SECONDS) < RECOVERY_SECONDS
    assert run.posters.answers["503"]


async def test_posts_are_refused_in_time_while_postgresql_is_frozen(load: Load) -> None:
    """503 with `Retry-After` within 5 s, never a hang; within 5 s of its return all is well."""
    async with load() as run:
        async with run.fault("PostgreSQL frozen", faults.freeze_server(faults.postgres)) as frozen:
            await asyncio.sleep(6)
        assert await run.until_posted(frozen.healed, POSTS, seconds=LONGEST_SECONDS) < RECOVERY_SECONDS
        assert await run.until_heard(frozen.healed, seconds=LONGEST_SECONDS) < RECOVERY_SECONDS
    assert run.posters.answers["503"]


async def test_redis_may_come_back_empty(load: Load, cluster: Cluster) -> None:
    """Events go to all gateways meanwhile, and interest is refilled."""
    async with load() as run:
        async with run.fault("Redis killed", faults.kill_server(faults.redis)) as killed:
            assert await run.until_heard(killed.began, seconds=LONGEST_SECONDS) < RECOVERY_SECONDS
        assert await run.until_heard(killed.healed, seconds=LONGEST_SECONDS) < RECOVERY_SECONDS
        await cluster.ready()
    for unit in cluster.those("gateway"):
        assert await unit.service.metric("roomcast_interest_refills_total") >= 1
