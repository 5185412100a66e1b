"""The fault matrix: each part killed, each link cut and frozen, under load; nothing acknowledged is lost."""

import asyncio
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, Final, Protocol

import pytest
from support.clients import PythonClient
from support.rest import Api
from support.stack import Kind

from chaos import faults
from chaos.cluster import Cluster, Target
from chaos.figures import Figures
from chaos.kinds import SEVERAL
from chaos.outages import Window
from chaos.run import People, Run, running
from shared.store.presence import GONE_SECONDS

pytestmark = pytest.mark.matrix

SEED: Final = 1
WARM_SECONDS: Final = 0.5
CUT_SECONDS: Final = 0.8
FROZEN_SECONDS: Final = 2.0
LONG_SECONDS: Final = 35.0
MINUTE: Final = 60.0
CATCH_UP_SECONDS: Final = 40.0
"""For what was posted in a minute, behind which new posts wait."""
RECOVERY_SECONDS: Final = 5.0
LONGEST_SECONDS: Final = 20.0
"""After which something that should have happened long ago counts as never."""
NO_TIMEOUT_SECONDS: Final = 3.0
"""Less than any time-out after which somebody is taken for dead: 3 s for the relay, 30 s for the others."""
SLOW_REPLY_SECONDS: Final = 10.0 + NO_TIMEOUT_SECONDS
"""For a reply that takes ten seconds to write."""
POSTS: Final = 50
"""So many new posts say that posting works."""
POSTS_PER_SECOND: Final = 200
GROWTH_BYTES: Final = 24 * 1024 * 1024
MOST_KILLS: Final = 6


class Load(Protocol):
    """Load while the block runs; then everything is judged, and the row's figures are printed."""

    def __call__(self, *, orderly: bool = False) -> AbstractAsyncContextManager[Run]:
        """`orderly`: nothing will die."""


@pytest.fixture
def load(
    cluster: Cluster, people: People, capsys: pytest.CaptureFixture[str], request: pytest.FixtureRequest
) -> Load:
    """See `Load`."""

    @asynccontextmanager
    async def loaded(*, orderly: bool = False) -> AsyncIterator[Run]:
        await cluster.ready()
        async with running(cluster, people, seed=SEED, orderly=orderly) as run:
            await run.until_heard(run.began, seconds=LONGEST_SECONDS)
            await asyncio.sleep(WARM_SECONDS)
            yield run
            figures = await run.finish()
        say(request, capsys, figures)
        assert figures.violations == []

    return loaded


def say(request: pytest.FixtureRequest, capsys: pytest.CaptureFixture[str], figures: Figures) -> None:
    with capsys.disabled():
        sys.stdout.write("\n    ".join([f"\n  {request.node.name}", *figures.lines(), ""]))


@asynccontextmanager
async def failing(run: Run, kind: str, inflict: faults.Inflict) -> AsyncIterator[Window]:
    """Has a fault while the block runs, once all is well."""
    await run.cluster.ready()
    async with run.fault(kind, inflict) as window:
        yield window


async def heard_again(run: Run, since: float) -> None:
    """Every socket hears of what was posted after that, within 5 s."""
    assert await run.until_heard(since, seconds=LONGEST_SECONDS) < RECOVERY_SECONDS


async def links_fail(run: Run, kind: Kind, *targets: Target) -> None:
    """Cuts each link, then freezes it; all is as before within 5 s of its return."""
    for target in targets:
        for how, word, seconds in (("cut", "cut", CUT_SECONDS), ("freeze", "frozen", FROZEN_SECONDS)):
            async with failing(run, f"link {kind}-{target} {word}", faults.link(kind, target, how)) as fault:
                await asyncio.sleep(seconds)
            await heard_again(run, fault.healed)


async def test_a_gateway(load: Load) -> None:
    """Killed: its sockets go on at another within 5 s. Frozen, and its links to the bus, the API, Redis."""
    async with load() as run:
        async with failing(run, "gateway killed", faults.kill_service("gateway")) as killed:
            pass
        await heard_again(run, killed.effective)
        async with failing(run, "gateway frozen", faults.freeze_service("gateway")) as frozen:
            await asyncio.sleep(FROZEN_SECONDS)
        await heard_again(run, frozen.healed)
        await links_fail(run, "gateway", "bus", "api", "redis")


async def test_who_was_at_a_killed_gateway_is_announced_offline(cluster: Cluster, people: People) -> None:
    """By another, to those who stay, when nobody has come back for as long as a gateway may be silent."""
    await cluster.ready()
    ann, bob = people.pairs[0]
    async with Api(cluster.those("api")[0].service.url) as api:
        chat_id = await ann.through(api).open_chat(bob)
    stays, dies = cluster.those("gateway")
    sockets = []
    for person, gateway in ((ann, stays), (bob, dies)):
        socket = PythonClient(["websocket"])
        await socket.connect(gateway.service.url, auth={"token": person.token})
        assert (await socket.emit("join-chat", chat_id))["ok"]
        sockets.append(socket)
    watcher, _ = sockets

    def told_of_bob(*, online: bool) -> Callable[[Any], bool]:
        return lambda told: (told["userId"], told["online"]) == (bob.id, online)

    await watcher.wait("presence", where=told_of_bob(online=True))
    cluster.kill(dies)
    await watcher.wait("presence", where=told_of_bob(online=False), seconds=GONE_SECONDS + 15)
    for socket in sockets:
        await socket.close()


async def test_an_api(load: Load) -> None:
    """The relay leader killed, frozen, or cut off from PostgreSQL: another relays within 5 s. Its links."""
    async with load() as run:
        for kind, inflict in (
            ("relay leader killed", faults.kill_leader),
            ("relay leader frozen", faults.freeze_service("api")),
            ("link api-db frozen", faults.link("api", "db", "freeze")),
        ):
            async with failing(run, kind, inflict) as fault:
                await heard_again(run, fault.effective)
        async with failing(run, "other API killed", faults.kill_follower) as killed:
            pass
        await heard_again(run, killed.effective)
        async with failing(run, "link api-db cut", faults.link("api", "db", "cut")) as cut:
            await heard_again(run, cut.effective)
        await links_fail(run, "api", "bus", "redis")


async def test_a_worker(load: Load) -> None:
    """Killed in a reply: another begins it anew; its chunks, by their `attempt`, are the reply."""
    async with load() as run:
        for number in range(1, MOST_KILLS + 1):
            async with failing(run, "worker killed in a reply", faults.kill_writer):
                await asyncio.sleep(1.5)
            if number > 1 and any(witness.replaced for witness in run.witnesses):
                break  # others may have been killed before anybody saw their reply begin
        await links_fail(run, "worker", "bus", "redis")
    assert any(times > 1 for witness in run.witnesses for times in witness.attempts.values())
    assert sum(witness.replaced for witness in run.witnesses) > 0


async def test_rabbitmq(load: Load) -> None:
    """Killed, and restarted in good order: posts are answered 201 all the while; then all is heard."""
    async with load() as run:
        for kind, inflict in (
            ("RabbitMQ killed", faults.kill_server(faults.rabbitmq)),
            ("RabbitMQ restarted", faults.restart_server(faults.rabbitmq)),
        ):
            async with failing(run, kind, inflict) as away:
                assert await run.until_posted(away.effective, POSTS, seconds=LONGEST_SECONDS) < 1
            await heard_again(run, away.healed)
    assert not run.posters.answers["503"]


@pytest.mark.timeout(240)
async def test_rabbitmq_away_for_a_minute(load: Load, cluster: Cluster) -> None:
    """Every post is answered 201, no service grows with the outage; then everything is heard, in order."""
    async with load() as run:
        async with failing(run, "RabbitMQ away for a minute", faults.kill_server(faults.rabbitmq)) as away:
            before = {unit.name: unit.memory for unit in cluster.units}
            await asyncio.sleep(MINUTE)
            after = {unit.name: unit.memory for unit in cluster.units}
            taken = run.posted_since(away.effective)
            run.notes.append(f"{taken} posts taken without RabbitMQ")
            for name, size in after.items():
                run.notes.append(f"{name}: {before[name] >> 20} MiB at first, {size >> 20} after a minute")
        assert taken > MINUTE * POSTS_PER_SECOND
        await run.until_heard(away.healed, seconds=CATCH_UP_SECONDS)
    assert not run.posters.answers["503"]
    assert max(after[name] - before[name] for name in before) < GROWTH_BYTES


async def test_postgresql(load: Load) -> None:
    """Killed, and frozen: 503 with `Retry-After` within 5 s, never a hang; well within 5 s of its return."""
    async with load() as run:
        for kind, inflict, seconds in (
            ("PostgreSQL killed", faults.kill_server(faults.postgres), 1.0),
            ("PostgreSQL frozen", faults.freeze_server(faults.postgres), 5.5),
        ):
            refused = run.posters.answers["503"]
            async with failing(run, kind, inflict) as fault:
                await asyncio.sleep(seconds)
            assert run.posters.answers["503"] > refused
            assert await run.until_posted(fault.healed, POSTS, seconds=LONGEST_SECONDS) < RECOVERY_SECONDS
            await heard_again(run, fault.healed)


async def test_redis(load: Load, cluster: Cluster) -> None:
    """Killed and back empty: events go to all gateways meanwhile, and interest is refilled."""
    async with load() as run:
        async with failing(run, "Redis killed", faults.kill_server(faults.redis)) as killed:
            await heard_again(run, killed.effective)
        await heard_again(run, killed.healed)
        await cluster.ready()
    for unit in cluster.those("gateway"):
        assert await unit.service.metric("roomcast_interest_refills_total") >= 1


@pytest.mark.timeout(240)
async def test_several_at_once(load: Load) -> None:
    """A service dies while a server is away, two links fail together, all of a kind die, everything dies."""
    async with load() as run:
        for several in SEVERAL:
            async with failing(run, several.kind, several.inflict) as fault:
                await asyncio.sleep(sum(several.lasts) / 2)
            await run.until_heard(fault.healed, seconds=LONGEST_SECONDS)


@pytest.mark.timeout(240)
async def test_long_freezes(load: Load) -> None:
    """Longer than heartbeats last: two links black-holed, and the API that relays stopped."""
    async with load() as run:
        frozen = faults.together(
            faults.freeze_service("api"),
            faults.link("gateway", "bus", "freeze"),
            faults.link("worker", "bus", "freeze"),
        )
        async with failing(run, "frozen: relay leader, gateway-bus, worker-bus", frozen) as fault:
            await asyncio.sleep(LONG_SECONDS)
        await run.until_heard(fault.healed, seconds=LONGEST_SECONDS)


@pytest.mark.timeout(240)
async def test_orderly_restarts(load: Load, cluster: Cluster) -> None:
    """Each service in turn by SIGTERM: no post fails, no reply is begun twice, nobody waits long."""
    async with load(orderly=True) as run:
        for unit in (*cluster.those("gateway"), *cluster.those("api"), *cluster.those("worker")):
            if unit.kind == "worker":
                await faults.until_writing(unit, seconds=LONGEST_SECONDS)
            async with failing(run, f"{unit.kind} restarted", faults.restart(unit)) as restarted:
                pass
            await heard_again(run, restarted.healed)
    figures = run.figures
    assert figures is not None
    assert figures.answers.keys() == {"201"}
    assert figures.posts > figures.seconds * POSTS_PER_SECOND
    assert max(outage.delivery for outage in figures.outages.values()) < NO_TIMEOUT_SECONDS
    assert figures.slowest_answer < NO_TIMEOUT_SECONDS
    assert figures.slowest_reply < SLOW_REPLY_SECONDS
    assert {times for witness in run.witnesses for times in witness.attempts.values()} == {1}
