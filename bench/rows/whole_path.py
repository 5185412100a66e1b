"""Measures the whole path: from a `POST` to every socket of the chat, 200 chats of 5, beside a Node API."""

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from time import monotonic
from typing import Final

from support.servers import PostgresServer

from bench.contenders.gateways import NODE_GATEWAY, ROOMCAST
from bench.contenders.platforms import Platform, platform
from bench.environment import database
from bench.load.crowd import Crowd
from bench.load.process import LoadError, LoadProcess
from bench.meter import Meter
from bench.rows.latency import quantile
from bench.rows.scene import Scene

CHATS: Final = 200
MEMBERS: Final = 5
LISTENED: Final = 50
CONNECTIONS: Final = 64
SECONDS: Final = 5.0
WARM_SECONDS: Final = 1.5
RATE: Final = 100
CALM_SECONDS: Final = 15.0
ARRIVAL_SECONDS: Final = 60.0
_MILLI: Final = 1e3


@dataclass(frozen=True, slots=True)
class Busy:
    """A platform with posters and clients; those of the first 50 chats are waited on."""

    platform: Platform
    posters: LoadProcess
    crowd: Crowd
    prompt: Crowd
    postgres: Meter

    async def saturated(self, seconds: float) -> dict[str, float]:
        """Posts as fast as it goes, until every socket has every message."""
        start = await self._frames()
        meters = (self.platform.api, self.platform.gateway.meter, self.postgres)
        before = [meter.cpu() for meter in meters]
        began = monotonic()
        said = await self.posters.ask("post", seconds=seconds)
        await self._all_came(start, said["posts"])
        elapsed = monotonic() - began
        api, gateway, postgres = (
            (meter.cpu() - was) / said["posts"] * _MILLI for meter, was in zip(meters, before, strict=True)
        )
        await self.prompt.ages()
        return {
            "posts": said["posts"],
            "posts_per_second": said["posts"] / elapsed,
            "api_ms": api,
            "gateway_ms": gateway,
            "postgres_ms": postgres,
        }

    async def calm(self, rate: float, seconds: float, chance: random.Random) -> list[float]:
        """Posts at random moments in the first 50 chats; returns the sorted ages of the messages."""
        at, moments = 0.0, []
        listened = self.listened
        for _ in range(round(rate * seconds)):
            at += chance.expovariate(rate)
            moments.append((at, chance.randrange(listened)))
        start = (await self.prompt.count())["frames"]
        await self.posters.ask("post_at", moments=moments)
        await self.prompt.wait(start + len(moments) * MEMBERS)
        return sorted(await self.prompt.ages())

    @property
    def listened(self) -> int:
        """Returns the number of people who are waited on: the first ones."""
        return min(LISTENED * MEMBERS, len(self.platform.people))

    async def _frames(self) -> int:
        crowds = (await self.crowd.count(), await self.prompt.count())
        return int(sum(said["frames"] for said in crowds))

    async def _all_came(self, start: int, posts: int) -> None:
        expected = start + posts * MEMBERS
        async with asyncio.timeout(ARRIVAL_SECONDS):
            while (came := await self._frames()) < expected:  # noqa: ASYNC110  # clients tell when asked
                await asyncio.sleep(0.01)
        if came != expected:
            raise LoadError(f"{came - start} messages came where {expected - start} were posted")


async def whole_path(scene: Scene) -> None:
    """64 posters without a pause, then 100 posts a second in 50 chats."""
    kinds = [kind for kind in (ROOMCAST, NODE_GATEWAY) if kind in scene.kinds]
    chance = random.Random(5)
    async with database() as postgres, AsyncExitStack() as ends:
        made = {kind: await ends.enter_async_context(_busy(scene, kind, postgres)) for kind in kinds}
        for one in made.values():
            await one.saturated(WARM_SECONDS * scene.scale)
        for _ in range(scene.rounds):
            for kind, one in made.items():
                figures = await one.saturated(SECONDS * scene.scale)
                notes = {name: round(value, 3) for name, value in figures.items()}
                scene.book.add("posts per second", kind, figures["posts_per_second"], None, **notes)
                scene.book.add("API per post", kind, figures["api_ms"])
            for kind, one in made.items():
                ages = await one.calm(RATE, CALM_SECONDS * scene.scale, chance)
                scene.book.add("posted p99", kind, quantile(ages, 0.99) * _MILLI)
                scene.book.add("posted p50", kind, quantile(ages, 0.50) * _MILLI)


@asynccontextmanager
async def _busy(scene: Scene, kind: str, postgres: PostgresServer) -> AsyncIterator[Busy]:
    async with (
        platform(
            kind,
            scene.environment,
            postgres,
            chats=scene.many(CHATS, 10),
            members=MEMBERS,
            profile=scene.profile,
        ) as made,
        Crowd() as crowd,
        Crowd(prompt=True) as prompt,
        LoadProcess("posters.py") as posters,
    ):
        one = Busy(made, posters, crowd, prompt, Meter(postgres.pid))
        sockets = [(token, [chat]) for token, chat in made.people]
        await prompt.connect(made.gateway.port, sockets[: one.listened])
        if sockets[one.listened :]:
            await crowd.connect(made.gateway.port, sockets[one.listened :])
        await posters.ask("setup", port=made.api_port, speakers=made.people, connections=CONNECTIONS)
        yield one
        await crowd.close()
        await prompt.close()
