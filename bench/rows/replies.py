"""Measures 100 replies at once, beside sending the whole text again with each token."""

import asyncio
import random
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from time import monotonic
from typing import Final

from support.servers.process import Process

from bench.contenders.gateways import ROOMCAST, STOCK, Gateway, gateway, settings
from bench.contenders.resender import REQUESTS
from bench.environment import ROOT, START_SECONDS, Environment
from bench.load.crowd import Crowd
from bench.load.feeders import Feeder
from bench.meter import Meter
from bench.report.targets import RESENT
from bench.rows.latency import quantile
from bench.rows.scene import Scene
from shared.events import REPLY_REQUESTED, Event, ReplyRequested
from shared.ids import new_id

REPLIES: Final = 100
SPREAD_SECONDS: Final = 1.0
"""The replies begin at random moments within this time."""
TOKENS: Final = (100, 200)
WARM_TOKENS: Final = 10
BOUND_SECONDS: Final = 120.0
_WRITERS: Final = {ROOMCAST: "bench.contenders.worker", STOCK: "bench.contenders.resender"}
_MICRO: Final = 1e6
_MILLI: Final = 1e3
_KIB: Final = 1024


@dataclass(frozen=True, slots=True)
class Writing:
    """A program that writes replies, a gateway, and two sockets in each chat: one is waited on, one not."""

    who: str
    requests: Feeder
    worker: Meter
    gateway: Gateway
    crowd: Crowd
    prompt: Crowd
    environment: Environment
    chats: list[str]

    async def written(self, tokens: int, chance: random.Random) -> dict[str, float]:
        """Has a reply of so many tokens written in every chat; returns the cost until all are whole."""
        before = [await each.count() for each in (self.crowd, self.prompt)]
        meters = {
            "worker": self.worker,
            "bus": self.environment.broker,
            "store": self.environment.store,
            "gateway": self.gateway.meter,
        }
        cpu = {name: meter.cpu() for name, meter in meters.items()}
        began = monotonic()
        await self._ask(tokens, chance)
        for each, was in zip((self.crowd, self.prompt), before, strict=True):
            await each.wait(was["frames"] + len(self.chats), bound=BOUND_SECONDS)
        spent = {name: (meter.cpu() - cpu[name]) / tokens / len(self.chats) for name, meter in meters.items()}
        seconds = monotonic() - began
        got = (await self.crowd.count())["bytes"] - before[0]["bytes"]
        return {**spent, "seconds": seconds, "bytes": got / len(self.chats)}

    async def _ask(self, tokens: int, chance: random.Random) -> None:
        moments = sorted((chance.uniform(0, SPREAD_SECONDS), chat_id) for chat_id in self.chats)
        began = monotonic()
        for moment, chat_id in moments:
            await asyncio.sleep(began + moment - monotonic())
            await self.requests.feed([_request(chat_id, tokens)])


def _request(chat_id: str, tokens: int) -> Event:
    body = ReplyRequested(
        reply_id=new_id(),
        chat_id=chat_id,
        reply_to=new_id(),
        title=str(tokens),
        context=None,
        members={},
        history=(),
    )
    return Event(REPLY_REQUESTED, body.json_bytes(), subject=body.reply_id)


async def replies(scene: Scene) -> None:
    """100 replies at once, 50 tokens a second each, in rooms of two sockets."""
    chance = random.Random(11)
    for _ in range(scene.rounds):
        for kind in (ROOMCAST, STOCK):
            if kind in scene.kinds:
                async with _writing(scene, kind) as one:
                    await _measured(scene, one, chance)


async def _measured(scene: Scene, one: Writing, chance: random.Random) -> None:
    await one.written(WARM_TOKENS, chance)
    await one.prompt.ages()
    ages: list[float] = []
    spent: dict[str, float] = {}
    for tokens in TOKENS:
        spent = await one.written(scene.many(tokens, 10), chance)
        ages += await one.prompt.ages()
        scene.book.add("reply bytes", f"{one.who}, {tokens} tokens", spent["bytes"] / _KIB)
    # Those of the longer replies.
    parts = {name: spent[name] * _MICRO for name in ("worker", "bus", "store", "gateway")}
    for name, value in parts.items():
        scene.book.add(f"token {name}", one.who, value)
    scene.book.add("token cpu", one.who, sum(parts.values()), seconds=round(spent["seconds"], 1))
    ages.sort()
    scene.book.add("first token p99", one.who, quantile(ages, 0.99) * _MILLI, replies=len(ages))
    scene.book.add("first token p50", one.who, quantile(ages, 0.50) * _MILLI)


@asynccontextmanager
async def _writing(scene: Scene, kind: str) -> AsyncIterator[Writing]:
    environment = scene.environment
    chats = [new_id() for _ in range(scene.many(REPLIES, 5))]
    process = Process(f"{kind} replies", environment.folder / f"replies-{kind}-{new_id()}.log")
    async with (
        gateway(kind, environment, name="replies", profile=scene.profile) as one,
        Crowd(replies=True) as crowd,
        Crowd(prompt=True, replies=True) as prompt,
    ):
        command = [sys.executable, "-m", _WRITERS[kind]]
        process.spawn(command, cwd=ROOT, env=settings(kind, environment, one.port), drop_rights=False)
        try:

            async def ready() -> bool:
                return "ready" in process.output

            await process.until(ready, seconds=START_SECONDS)
            for each in (crowd, prompt):
                await each.connect(one.port, [(environment.token(new_id()), [chat]) for chat in chats])
            yield Writing(
                who=ROOMCAST if kind == ROOMCAST else RESENT,
                requests=environment.group_feeder if kind == ROOMCAST else environment.plain(REQUESTS),
                worker=Meter(process.pid),
                gateway=one,
                crowd=crowd,
                prompt=prompt,
                environment=environment,
                chats=chats,
            )
            for each in (crowd, prompt):
                await each.close()
            await process.end(signal.SIGTERM, seconds=START_SECONDS)
        finally:
            process.kill()
