"""Measures what a gateway spends on events of rooms that it does not hold."""

import asyncio
import random
import re
from functools import partial
from typing import Final

import aiohttp

from bench.contenders.gateways import ROOMCAST
from bench.load.feeders import feed_on_time, spread
from bench.load.messages import Talk
from bench.rig import Rig, rigs
from bench.rows.arriving import newcomers
from bench.rows.scene import Scene
from shared.ids import new_id

SOCKETS: Final = 1000
ELSEWHERE: Final = 1000
RATE: Final = 1000
SECONDS: Final = 3.0
_MICRO: Final = 1e6
_EVENTS: Final = re.compile(r"^roomcast_gateway_events_total\{.*\} (\S+)$", re.MULTILINE)


async def unheld(scene: Scene) -> None:
    """1000 messages a second in chats of which no socket here is; CPU beyond that of the same time idle."""
    sockets = newcomers(scene, scene.many(SOCKETS, 20))
    elsewhere = [new_id() for _ in range(ELSEWHERE)]
    chance, talk = random.Random(4), Talk()
    async with rigs(
        scene.environment, scene.kinds, lambda: sockets, name="unheld", profile=scene.profile
    ) as made:
        for _ in range(scene.rounds):
            moments = spread(elsewhere, RATE, SECONDS * scene.scale, chance)
            for kind, rig in made.items():
                seen = await _seen(rig)
                idle = await rig.spend(partial(asyncio.sleep, SECONDS * scene.scale), expected=SECONDS)
                feed = partial(feed_on_time, rig.feeder, talk, moments)
                spent = await rig.spend(feed, expected=SECONDS + 1)
                extra = spent.cpu - idle.cpu * spent.seconds / idle.seconds
                scene.book.add(
                    "unheld", kind, extra / len(moments) * _MICRO, spent, events_seen=await _seen(rig) - seen
                )


async def _seen(rig: Rig) -> int:
    """Returns the number of events that Roomcast's gateway says it got; the others do not say."""
    if rig.gateway.kind != ROOMCAST:
        return 0
    url = f"http://127.0.0.1:{rig.gateway.port}/metrics"
    async with aiohttp.ClientSession() as http, http.get(url) as answer:
        return round(sum(map(float, _EVENTS.findall(await answer.text()))))
