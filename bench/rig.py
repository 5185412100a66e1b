"""Sets up a gateway with its clients, and measures what it spends on a piece of work."""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from time import monotonic
from typing import Final

from bench.contenders.gateways import KINDS, ROOMCAST, Gateway, Profile, gateway
from bench.environment import Environment
from bench.load.crowd import Crowd
from bench.load.feeders import Feeder

EACH_ALONE: Final = "roomcast, a message per event"

Sockets = Sequence[tuple[str, list[str]]]
"""A token and the chats to join, each."""


@dataclass(frozen=True, slots=True)
class Spent:
    """The cost of a piece of work.

    Attributes:
        cpu: seconds of the gateway's CPU.
        clients: seconds of the clients' CPU.
        seconds: how long it took.
        frames: messages that clients got.
        pings: pings that clients got meanwhile.
        result: what the work returned.
    """

    cpu: float
    clients: float
    seconds: float
    frames: int
    pings: int
    result: object = None


@dataclass(slots=True)
class Rig:
    """A gateway and its clients.

    Attributes:
        ping_cpu: seconds of CPU for a ping with its answer, once measured.
    """

    gateway: Gateway
    crowd: Crowd
    feeder: Feeder
    ping_cpu: float = 0.0

    async def spend(self, work: Callable[[], Awaitable[object]], *, expected: float = 0.0) -> Spent:
        """Does `work`, which should take `expected` seconds; returns its cost.

        It waits until no pings are due meanwhile, or takes off what they cost.
        """
        await self.crowd.lull(expected)
        before = await self.crowd.count()
        clients, cpu, began = self.crowd.cpu(), self.gateway.meter.cpu(), monotonic()
        result = await work()
        cpu, seconds = self.gateway.meter.cpu() - cpu, monotonic() - began
        after = await self.crowd.count()
        pings = after["pings"] - before["pings"]
        return Spent(
            cpu - pings * self.ping_cpu,
            self.crowd.cpu() - clients,
            seconds,
            after["frames"] - before["frames"],
            pings,
            result,
        )

    async def fed(
        self, feed: Callable[[], Awaitable[object]], frames: int, *, expected: float = 0.0
    ) -> Spent:
        """Feeds, and waits until clients got `frames` messages more."""
        start = (await self.crowd.count())["frames"]

        async def work() -> object:
            result = await feed()
            await self.crowd.wait(start + frames)
            return result

        return await self.spend(work, expected=expected)


@asynccontextmanager
async def rigs(
    environment: Environment,
    kinds: Sequence[str],
    sockets: Callable[[], Sockets],
    *,
    name: str,
    profile: Profile | None = None,
    changes: Mapping[str, str] | None = None,
) -> AsyncIterator[dict[str, Rig]]:
    """Yields a rig for each kind, all joined; `changes` are settings that differ."""
    async with AsyncExitStack() as ends:
        made: dict[str, Rig] = {}
        for kind in KINDS:
            if kind in kinds:
                one = await ends.enter_async_context(
                    gateway(kind, environment, name=name, profile=profile, changes=changes)
                )
                crowd = await ends.enter_async_context(Crowd())
                made[kind] = Rig(one, crowd, one.feeder(environment))
                await crowd.connect(one.port, sockets())
        yield made
        for rig in made.values():
            await rig.crowd.close()


def ways(made: dict[str, Rig], environment: Environment) -> list[tuple[str, Rig, Feeder]]:
    """Returns each rig with its feeder; Roomcast also with one message per event."""
    found = [(kind, rig, rig.feeder) for kind, rig in made.items()]
    if ROOMCAST in made:
        found.insert(1, (EACH_ALONE, made[ROOMCAST], environment.single_feeder))
    return found
