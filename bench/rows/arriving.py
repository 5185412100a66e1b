"""Measures handshakes with token and `join-chat`, and the memory of a joined socket."""

import asyncio
from contextlib import AsyncExitStack
from typing import Final

from bench.contenders.gateways import Gateway, gateway
from bench.load.crowd import Crowd
from bench.rig import Rig, Sockets
from bench.rows.scene import Scene
from shared.ids import new_id

SOCKETS: Final = 2000
WARM: Final = 500
MEMBERS: Final = 5
IN_FLIGHT: Final = 100
SETTLE_SECONDS: Final = 2.0
_MILLI: Final = 1e3
_KIB: Final = 1024


def newcomers(scene: Scene, count: int) -> Sockets:
    """Returns sockets of as many users, five in each chat."""
    chats = [new_id() for _ in range(-(-count // MEMBERS))]
    return [(scene.environment.token(new_id()), [chats[number // MEMBERS]]) for number in range(count)]


async def handshake(scene: Scene) -> None:
    """Each round in a fresh process, after 500 to warm it up."""
    for _ in range(scene.rounds):
        for kind in scene.kinds:
            async with AsyncExitStack() as ends:
                one = await ends.enter_async_context(
                    gateway(kind, scene.environment, name="handshake", profile=scene.profile)
                )
                crowd = await ends.enter_async_context(Crowd())
                await _arrive(scene, Rig(one, crowd, one.feeder(scene.environment)))
                await crowd.close()


async def _arrive(scene: Scene, rig: Rig) -> None:
    kind, port, crowd = rig.gateway.kind, rig.gateway.port, rig.crowd
    await crowd.connect(port, newcomers(scene, scene.many(WARM, 10)), in_flight=IN_FLIGHT)
    before = await _settled_rss(rig.gateway)
    count = scene.many(SOCKETS, 20)
    sockets = newcomers(scene, count)
    spent = await rig.spend(lambda: crowd.connect(port, sockets, in_flight=IN_FLIGHT))
    scene.book.add("handshake", kind, spent.cpu / count * _MILLI, spent)
    after = await _settled_rss(rig.gateway)
    scene.book.add("memory", kind, (after - before) / count / _KIB, rss_mib=round(after / _KIB**2, 1))


async def _settled_rss(one: Gateway) -> int:
    await asyncio.sleep(SETTLE_SECONDS / 2)
    one.collect_garbage()
    await asyncio.sleep(SETTLE_SECONDS / 2)
    return one.meter.rss()
