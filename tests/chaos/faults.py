"""Every way in which things are made to fail. Each is a block: entered, it has happened; left, it is over."""

import asyncio
import random
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from typing import Final

import psutil  # type: ignore[import-untyped]  # it has no types of its own
from support.servers import PostgresServer, RabbitServer, RedisServer
from support.stack import Kind

from chaos.cluster import Cluster, Target, Unit

SLOW_SECONDS: Final = 0.2
"""One way: a round trip over a slow link takes twice that."""
_WRITING_SECONDS: Final = 5.0
_LOOK_SECONDS: Final = 0.02

Inflict = Callable[[Cluster, random.Random], AbstractAsyncContextManager[None]]


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


def kill_all(kind: Kind) -> Inflict:
    """SIGKILL to all of a kind at once."""

    @asynccontextmanager
    async def inflict(cluster: Cluster, rng: random.Random) -> AsyncIterator[None]:
        for unit in cluster.those(kind):
            cluster.kill(unit)
        yield

    return inflict


def restart(unit: Unit) -> Inflict:
    """SIGTERM; over when its successor is ready."""

    @asynccontextmanager
    async def inflict(cluster: Cluster, rng: random.Random) -> AsyncIterator[None]:
        await cluster.restart(unit)
        yield

    return inflict


def restart_service(kind: Kind) -> Inflict:
    """SIGTERM to one of a kind, of the APIs the one that relays; over when its successor is ready."""

    @asynccontextmanager
    async def inflict(cluster: Cluster, rng: random.Random) -> AsyncIterator[None]:
        await cluster.restart(await one_of(cluster, kind, rng))
        yield

    return inflict


def freeze_service(kind: Kind) -> Inflict:
    """SIGSTOP to one of a kind, of the APIs the one that relays; SIGCONT at the end."""

    @asynccontextmanager
    async def inflict(cluster: Cluster, rng: random.Random) -> AsyncIterator[None]:
        with cluster.frozen(await one_of(cluster, kind, rng)):
            yield

    return inflict


async def one_of(cluster: Cluster, kind: Kind, rng: random.Random) -> Unit:
    """One that has something to do: the API that relays, a gateway with sockets, a worker that writes."""
    match kind:
        case "api":
            return await cluster.leader()
        case "worker":
            return await writing(cluster)
        case "gateway":
            return rng.choice(await cluster.busy(kind))


def together(*inflicts: Inflict) -> Inflict:
    """One right after the other; over all at once."""

    @asynccontextmanager
    async def inflict(cluster: Cluster, rng: random.Random) -> AsyncIterator[None]:
        async with AsyncExitStack() as over:
            for each in inflicts:
                await over.enter_async_context(each(cluster, rng))
            yield

    return inflict


async def writing(cluster: Cluster) -> Unit:
    """A worker that is writing a reply; any, when none is for long."""
    deadline = asyncio.get_running_loop().time() + _WRITING_SECONDS
    while asyncio.get_running_loop().time() < deadline:
        for unit in cluster.those("worker"):
            if await _writes(unit):
                return unit
        await asyncio.sleep(_LOOK_SECONDS)
    return cluster.those("worker")[0]


async def until_writing(worker: Unit, *, seconds: float) -> None:
    """Waits until that worker writes a reply."""
    async with asyncio.timeout(seconds):
        while not await _writes(worker):  # noqa: ASYNC110  it tells by its metrics alone
            await asyncio.sleep(_LOOK_SECONDS)


async def _writes(worker: Unit) -> bool:
    return (
        await worker.service.status("/healthz") == 200
        and await worker.service.metric("roomcast_worker_replies_in_progress") > 0
    )


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


def restart_server(choose: Callable[[Cluster], PostgresServer | RabbitServer]) -> Inflict:
    """An orderly stop of a server; it is started again at the end."""

    @asynccontextmanager
    async def inflict(cluster: Cluster, rng: random.Random) -> AsyncIterator[None]:
        server = choose(cluster)
        await server.stop()
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
