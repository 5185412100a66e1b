"""Measures the age of messages on arrival: under half of the load that Node can take, and alone."""

import random
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import Final

from bench.contenders.gateways import KINDS, NODE_GATEWAY, gateway
from bench.load.crowd import Crowd
from bench.load.feeders import feed_on_time, spread
from bench.load.messages import Talk
from bench.rig import Rig
from bench.rows.one_room import ROOM, one_room
from bench.rows.scene import Scene
from shared.ids import new_id

CHUNKS: Final = 10
WATCHED: Final = 5
"""Of each hundred sockets, these are waited on; they tell how old messages are."""
SECONDS: Final = 5.0
BACKLOG: Final = 150
LONE_PER_SECOND: Final = 10
OTHERWISE: Final = 40.0
"""Messages a second where Node does not take part."""
_MILLI: Final = 1e3


@dataclass(frozen=True, slots=True)
class Watched:
    """A rig of which some sockets are waited on."""

    rig: Rig
    prompt: Crowd
    others: int
    watched: int

    async def after(self, moments: list[tuple[float, str]], talk: Talk) -> list[float]:
        """Feeds; returns the sorted ages on the sockets that are waited on, once all came everywhere."""
        start = (await self.prompt.count())["frames"]
        feed = partial(feed_on_time, self.rig.feeder, talk, moments)
        await self.rig.fed(feed, len(moments) * self.others, expected=SECONDS + 1)
        await self.prompt.wait(start + len(moments) * self.watched)
        return sorted(await self.prompt.ages())


async def latency(scene: Scene) -> None:
    """A room of 1000 at half of the load that Node can take in this run; then 10 messages a second."""
    chat_id, talk, chance = new_id(), Talk(), random.Random(2)
    async with AsyncExitStack() as ends:
        made = {
            kind: await ends.enter_async_context(_watched(scene, kind, chat_id))
            for kind in KINDS
            if kind in scene.kinds
        }
        for one in made.values():
            await one.after([(0.0, chat_id)] * 20, talk)
        for _ in range(scene.rounds):
            rate = await _half(made[NODE_GATEWAY], chat_id, talk) if NODE_GATEWAY in made else OTHERWISE
            loaded = spread([chat_id], rate, SECONDS * scene.scale, chance)
            lone = [(at / LONE_PER_SECOND, chat_id) for at in range(scene.many(40))]
            for kind, one in made.items():
                ages = await one.after(loaded, talk)
                scene.book.add("latency p99", kind, quantile(ages, 0.99) * _MILLI, per_second=round(rate, 1))
                scene.book.add("latency p50", kind, quantile(ages, 0.50) * _MILLI)
                ages = await one.after(lone, talk)
                scene.book.add("lone p99", kind, quantile(ages, 0.99) * _MILLI)
                scene.book.add("lone p50", kind, quantile(ages, 0.50) * _MILLI)


def quantile(ages: list[float], part: float) -> float:
    """Returns a quantile of sorted values."""
    return ages[min(len(ages) - 1, int(len(ages) * part))]


async def _half(node: Watched, chat_id: str, talk: Talk) -> float:
    """Returns half of the messages a second that Node gets through when they all wait for it."""
    backlog = [talk.next(chat_id) for _ in range(BACKLOG)]
    start = (await node.prompt.count())["frames"]
    spent = await node.rig.fed(partial(node.rig.feeder.feed, backlog), BACKLOG * node.others, expected=4.0)
    await node.prompt.wait(start + BACKLOG * node.watched)
    await node.prompt.ages()
    return BACKLOG / spent.seconds / 2


@asynccontextmanager
async def _watched(scene: Scene, kind: str, chat_id: str) -> AsyncIterator[Watched]:
    """Yields sockets of one room; those waited on are spread over it, in the order of joining."""
    size = scene.many(ROOM, 100) // CHUNKS
    watched = max(1, size * WATCHED // 100)
    async with (
        gateway(kind, scene.environment, name="latency", profile=scene.profile) as one,
        Crowd() as crowd,
        Crowd(prompt=True) as prompt,
    ):
        sockets = one_room(scene, chat_id, size * CHUNKS)
        for chunk in range(0, len(sockets), size):
            await crowd.connect(one.port, sockets[chunk : chunk + size - watched])
            await prompt.connect(one.port, sockets[chunk + size - watched : chunk + size])
        rig = Rig(one, crowd, one.feeder(scene.environment))
        yield Watched(rig, prompt, (size - watched) * CHUNKS, watched * CHUNKS)
        await crowd.close()
        await prompt.close()
