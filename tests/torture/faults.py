"""Every way in which things are made to fail. Each is a block: entered, it has happened; left, it is over."""

import asyncio
import random
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from typing import Final

import psutil  # type: ignore[import-untyped]  # it has no types of its own
from servers import PostgresServer, RabbitServer, RedisServer
from stack import Kind

from torture.cluster import Cluster, Target, Unit

SLOW_SECONDS: Final = 0.2
"""One way: a round trip over a slow link takes twice that."""
_WRITING_SECONDS: Final = 5.0
_LOOK_SECONDS: Final = 0.02

Inflict = Callable[[Cluster, random.Random], AbstractAsyncContextManager[None]]


@dataclass(frozen=True, slots=True)
class Fault:
    """One kind of failure.

    Attributes:
        kind: what it is called in figures.
        lasts: seconds between which it is kept up.
        rests: seconds that are given to recover before the next.
    """

    kind: str
    inflict: Inflict
    lasts: tuple[float, float]
    rests: tuple[float, float] = (0.8, 1.6)


def kill_service(kind: Kind) -> Inflict:
    """SIGKILL to one of a kind; started again by the supervisor."""

    @asynccontextmanager
    async def inflict(cluster: Cluster, rng: random.Random) -> AsyncIterator[None]:
        cluster.kill(rng.choice(await cluster.busy(kind)))
        yield

    return inflict


@asynccontextmanager
async def kill_leader(cluster: Cluster, rng: random.Random) -> AsyncIterator[None]:
    """SIGKILL to the API that relays."""
    cluster.kill(await cluster.leader())
    yield


@asynccontextmanager
async def kill_follower(cluster: Cluster, rng: random.Random) -> AsyncIterator[None]:
    """SIGKILL to the API that does not relay."""
    leader = await cluster.leader()
    cluster.kill(next(unit for unit in cluster.those("api") if unit is not leader))
    yield


@asynccontextmanager
async def kill_writer(cluster: Cluster, rng: random.Random) -> AsyncIterator[None]:
    """SIGKILL to a worker in the middle of a reply."""
    cluster.kill(await writing(cluster))
    yield


async def writing(cluster: Cluster) -> Unit:
    """A worker that is writing a reply; any, when none is for long."""
    deadline = asyncio.get_running_loop().time() + _WRITING_SECONDS
    while asyncio.get_running_loop().time() < deadline:
        for unit in cluster.those("worker"):
            if (
                await unit.service.status("/healthz") == 200
                and await unit.service.metric("roomcast_worker_replies_in_progress") > 0
            ):
                return unit
        await asyncio.sleep(_LOOK_SECONDS)
    return cluster.those("worker")[0]


def kill_server(choose: Callable[[Cluster], PostgresServer | RabbitServer | RedisServer]) -> Inflict:
    """SIGKILL to a server; it is started again at the end."""

    @asynccontextmanager
    async def inflict(cluster: Cluster, rng: random.Random) -> AsyncIterator[None]:
        server = choose(cluster)
        children = psutil.Process(server._process.pid).children(recursive=True)
        await server.kill()
        for child in children:
            if child.is_running():
                child.kill()
        while any(child.is_running() for child in children):  # noqa: ASYNC110  nobody tells when they are gone
            await asyncio.sleep(_LOOK_SECONDS)
        try:
            yield
        finally:
            await server.start()

    return inflict


def freeze_server(choose: Callable[[Cluster], PostgresServer | RabbitServer | RedisServer]) -> Inflict:
    """SIGSTOP to a server and all its processes; SIGCONT at the end."""

    @asynccontextmanager
    async def inflict(cluster: Cluster, rng: random.Random) -> AsyncIterator[None]:
        root = psutil.Process(choose(cluster)._process.pid)
        frozen = [root, *root.children(recursive=True)]
        _signal(frozen, signal.SIGSTOP)
        try:
            yield
        finally:
            _signal(frozen, signal.SIGCONT)

    return inflict


def _signal(processes: list[psutil.Process], which: signal.Signals) -> None:
    for process in processes:
        if process.is_running():
            process.send_signal(which)


def link(kind: Kind, target: Target, how: str) -> Inflict:
    """`cut`, `freeze` or `slow` for the link of one service to a server; of the APIs the one that relays."""

    @asynccontextmanager
    async def inflict(cluster: Cluster, rng: random.Random) -> AsyncIterator[None]:
        unit = await cluster.leader() if kind == "api" else rng.choice(await cluster.busy(kind))
        chosen = unit.links[target]
        match how:
            case "cut":
                chosen.cut()
            case "freeze":
                chosen.freeze()
            case _:
                chosen.slow(SLOW_SECONDS)
        try:
            yield
        finally:
            chosen.heal()

    return inflict


def postgres(cluster: Cluster) -> PostgresServer:
    """The cluster's PostgreSQL."""
    return cluster.servers.postgres


def rabbitmq(cluster: Cluster) -> RabbitServer:
    """The cluster's RabbitMQ."""
    return cluster.servers.rabbitmq


def redis(cluster: Cluster) -> RedisServer:
    """The cluster's Redis."""
    return cluster.servers.redis


_LINKS: Final[tuple[tuple[Kind, Target], ...]] = (
    ("gateway", "bus"),
    ("gateway", "api"),
    ("gateway", "redis"),
    ("api", "db"),
    ("api", "bus"),
    ("api", "redis"),
    ("worker", "bus"),
)

FAULTS: Final = (
    Fault("gateway killed", kill_service("gateway"), (0, 1)),
    Fault("relay leader killed", kill_leader, (0, 1)),
    Fault("other API killed", kill_follower, (0, 1)),
    Fault("worker killed in a reply", kill_writer, (0, 1)),
    Fault("RabbitMQ killed", kill_server(rabbitmq), (0, 1), (4, 7)),
    Fault("RabbitMQ away", kill_server(rabbitmq), (8, 12), (5, 8)),
    Fault("RabbitMQ frozen", freeze_server(rabbitmq), (2, 8), (1, 3)),
    Fault("PostgreSQL killed", kill_server(postgres), (0, 4)),
    Fault("PostgreSQL frozen", freeze_server(postgres), (2, 6)),
    Fault("Redis killed", kill_server(redis), (0, 4)),
    Fault("Redis frozen", freeze_server(redis), (2, 6)),
    *(
        Fault(f"link {kind}-{target} {word}", link(kind, target, how), lasts)
        for kind, target in _LINKS
        for how, word, lasts in (
            ("cut", "cut", (0.0, 3.0)),
            ("freeze", "frozen", (2.0, 7.0)),
            ("slow", "slow", (1.0, 4.0)),
        )
    ),
)
"""What the long run chooses from."""
LONG_AWAY: Final = Fault("RabbitMQ away for a minute", kill_server(rabbitmq), (60, 60), (10, 10))
