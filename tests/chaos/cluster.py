"""The cluster that faults are put into: real servers, two of each service, and links between that can fail.

Every service reaches each of its servers through a link of its own. A service that was killed, or stopped, is
started again after a moment, with the same settings, as a supervisor would; one that ends by itself breaks a
promise.
"""

import asyncio
import math
import signal
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import Final, Literal, Self
from urllib.parse import SplitResult, urlsplit

import psutil  # type: ignore[import-untyped]  # it has no types of its own
from support.proxy import Link
from support.servers import PostgresServer, RabbitServer, RedisServer
from support.servers.ports import free_port
from support.stack import COMMAND, START_SECONDS, STOP_SECONDS, Kind, Service, Services

Target = Literal["db", "bus", "redis", "api"]

EACH: Final = 2
"""How many there are of each service."""
TARGETS: Final[dict[Kind, tuple[Target, ...]]] = {
    "api": ("db", "bus", "redis"),
    "gateway": ("bus", "redis", "api"),
    "worker": ("bus", "redis"),
}
"""What each service talks to; of the APIs there is one address, behind which are all."""
_VARIABLE: Final[dict[Target, str]] = {
    "db": "DATABASE_URL",
    "bus": "RABBITMQ_URL",
    "redis": "REDIS_URL",
    "api": "API_URL",
}
_SUPERVISOR_SECONDS: Final = 0.5
_LOOK_SECONDS: Final = 0.2


@dataclass(frozen=True, slots=True)
class Ground:
    """The servers."""

    postgres: PostgresServer
    rabbitmq: RabbitServer
    redis: RedisServer


@asynccontextmanager
async def ground() -> AsyncIterator[Ground]:
    """Servers that nobody else uses."""
    servers = Ground(PostgresServer(), RabbitServer(), RedisServer())
    async with AsyncExitStack() as ends:
        for server in (servers.postgres, servers.rabbitmq, servers.redis):
            ends.push_async_callback(server.remove)
        await asyncio.gather(servers.postgres.start(), servers.rabbitmq.start(), servers.redis.start())
        yield servers


@dataclass(slots=True)
class Unit:
    """One service: where it is, how it is started, its links.

    Attributes:
        killed: it was ended on purpose, and nobody has started it again yet.
    """

    kind: Kind
    index: int
    settings: dict[str, str]
    links: dict[Target, Link]
    service: Service
    killed: bool = False

    @property
    def name(self) -> str:
        """Such as `api-1`."""
        return f"{self.kind}-{self.index}"

    @property
    def memory(self) -> int:
        """Resident bytes; 0 while it does not run."""
        try:
            return int(psutil.Process(self.service.process.pid).memory_info().rss)
        except (psutil.Error, OSError):
            return 0


class Cluster(Services):
    """`async with` starts it. `died` is told of services that ended by themselves.

    Attributes:
        balancer: one address for all APIs, once it has started.
    """

    balancer: Link

    def __init__(self, servers: Ground) -> None:
        # Half of the load would be log lines; and nobody here renews a token, however long the run.
        super().__init__(
            LOG_LEVEL="warning",
            ACCESS_TOKEN_TTL="86400",
        )
        self.servers = servers
        self.units: list[Unit] = []
        self.died: Callable[[str], None] = lambda _: None
        self._links = AsyncExitStack()
        self._thawed: dict[str, float] = {}
        self._supervisor: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        await self._links.__aenter__()
        return await super().__aenter__()

    async def __aexit__(self, *_: object) -> None:
        if self._supervisor is not None:
            self._supervisor.cancel()
            await asyncio.gather(self._supervisor, return_exceptions=True)
        await super().__aexit__()
        await self._links.aclose()

    def those(self, kind: Kind) -> list[Unit]:
        """The units of that kind."""
        return [unit for unit in self.units if unit.kind == kind]

    def kill(self, unit: Unit) -> None:
        """SIGKILL; the supervisor starts it again."""
        unit.killed = True
        unit.service.process.kill()

    async def restart(self, unit: Unit) -> None:
        """SIGTERM, as an upgrade does; returns when what the supervisor started in its place is ready."""
        stopped, unit.killed = unit.service, True
        status = await stopped.process.end(signal.SIGTERM, seconds=STOP_SECONDS)
        if status != 0:
            self.died(f"{unit.name} was stopped and ended with {status}: {stopped.process.output[-6000:]}")
        while unit.service is stopped:  # noqa: ASYNC110  the supervisor looks now and then itself
            await asyncio.sleep(_LOOK_SECONDS)
        await self.ready()

    @contextmanager
    def frozen(self, unit: Unit) -> Iterator[None]:
        """SIGSTOP; SIGCONT after the block."""
        service = unit.service
        self._thawed[service.url] = math.inf
        service.process.signal(signal.SIGSTOP)
        try:
            yield
        finally:
            service.process.signal(signal.SIGCONT)
            self._thawed[service.url] = time.monotonic()

    def was_frozen(self, url: str, since: float) -> bool:
        """Returns whether the service there was frozen at any time since then: it cannot have answered."""
        return self._thawed.get(url, 0.0) > since

    async def leader(self) -> Unit:
        """The API that relays the outbox; waits until there is one."""
        while True:
            for unit in self.those("api"):
                if await unit.service.status("/healthz") == 200 and await unit.service.metric(
                    "roomcast_api_outbox_leader"
                ):
                    return unit
            await asyncio.sleep(_LOOK_SECONDS)

    async def busy(self, kind: Kind) -> list[Unit]:
        """The units of that kind; of the gateways those that have sockets, where one has."""
        units = self.those(kind)
        if kind != "gateway":
            return units
        used = [
            unit
            for unit in units
            if await unit.service.status("/healthz") == 200
            and await unit.service.metric("roomcast_gateway_sockets") > 0
        ]
        return used or units

    async def ready(self, *, seconds: float = START_SECONDS) -> None:
        """Waits until every service says that it is ready, those too that are yet to be started again."""
        async with asyncio.timeout(seconds):
            for unit in self.units:
                while await unit.service.status("/readyz") != 200:  # noqa: ASYNC110  it may not run yet
                    await asyncio.sleep(_LOOK_SECONDS)

    async def _start(self) -> None:
        database = await self.servers.postgres.new_database()
        self.settings.update(
            DATABASE_URL=database, RABBITMQ_URL=self.servers.rabbitmq.url, REDIS_URL=self.servers.redis.url
        )
        migrate = self._spawn("migrate", [*COMMAND, "migrate"], {})
        if await migrate.ended(seconds=START_SECONDS) != 0:
            raise migrate.failure("failed")
        for kind in ("api", "worker", "gateway"):
            for index in range(EACH):
                self.units.append(await self._unit(kind, index))
        self.balancer = await self._links.enter_async_context(Link(*self._ports("api")))
        await self.ready()
        self._supervisor = asyncio.create_task(self._supervise(), name="supervisor")

    async def _unit(self, kind: Kind, index: int) -> Unit:
        settings = {f"{kind.upper()}_PORT": str(free_port())}
        links: dict[Target, Link] = {}
        for target in TARGETS[kind]:
            url = self._address(target)
            link = links[target] = await self._links.enter_async_context(Link(*self._ports(target)))
            settings[_VARIABLE[target]] = url._replace(
                netloc=url.netloc.replace(f":{url.port}", f":{link.port}")
            ).geturl()
        return Unit(kind, index, settings, links, self._launch(kind, dict(settings)))

    def _address(self, target: Target) -> SplitResult:
        return urlsplit(
            self.those("api")[0].service.url if target == "api" else self.settings[_VARIABLE[target]]
        )

    def _ports(self, target: Target) -> list[int]:
        if target == "api":
            return [urlsplit(unit.service.url).port or 0 for unit in self.those("api")]
        return [self._address(target).port or 0]

    async def _supervise(self) -> None:
        while True:
            await asyncio.sleep(_LOOK_SECONDS)
            for unit in self.units:
                if not unit.service.process.running:
                    if not unit.killed:
                        self.died(f"{unit.name} ended: {unit.service.process.output[-6000:]}")
                    await asyncio.sleep(_SUPERVISOR_SECONDS)
                    self.of(unit.kind).remove(unit.service)
                    unit.service = self._launch(unit.kind, dict(unit.settings))
                    unit.killed = False
