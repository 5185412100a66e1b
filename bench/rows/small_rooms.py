"""Measures 2000 rooms of 5, with messages spread over them."""

import asyncio
import random
from functools import partial
from typing import Final

from bench.load.feeders import feed_on_time, spread
from bench.load.messages import Talk
from bench.rig import Rig, Sockets, rigs, ways
from bench.rows.scene import Scene
from shared.ids import new_id

ROOMS: Final = 2000
MEMBERS: Final = 5
RATE: Final = 1000
SECONDS: Final = 3.0
USERS: Final = 500
IDLE_SECONDS: Final = 26.0
"""One ping for each socket, and a little."""
_MICRO: Final = 1e6


async def small(scene: Scene) -> None:
    """Messages at random moments in random rooms, 1000 a second."""
    chats = [new_id() for _ in range(scene.many(ROOMS, 20))]
    users = [new_id() for _ in range(USERS)]

    def sockets() -> Sockets:
        # The sockets of a room are one user's, so that few presence events are due.
        return [
            (scene.environment.token(users[number % USERS]), [chat_id])
            for number, chat_id in enumerate(chats)
            for _ in range(MEMBERS)
        ]

    async with rigs(scene.environment, scene.kinds, sockets, name="small", profile=scene.profile) as made:
        await weigh_pings(made)
        talk, chance = Talk(), random.Random(1)
        for _ in range(scene.rounds):
            moments = spread(chats, RATE, SECONDS * scene.scale, chance)
            for who, rig, feeder in ways(made, scene.environment):
                feed = partial(feed_on_time, feeder, talk, moments)
                spent = await rig.fed(feed, len(moments) * MEMBERS, expected=SECONDS + 1)
                scene.book.add("small", who, spent.cpu / spent.frames * _MICRO, spent, flushes=spent.result)


async def weigh_pings(made: dict[str, Rig]) -> None:
    """Measures what a ping costs each gateway, where there is no time without pings."""
    if all(rig.crowd.pings_come_in_waves for rig in made.values()):
        return

    async def weigh(rig: Rig) -> None:
        spent = await rig.spend(lambda: asyncio.sleep(IDLE_SECONDS))
        rig.ping_cpu = spent.cpu / spent.pings if spent.pings else 0.0

    await asyncio.gather(*map(weigh, made.values()))
