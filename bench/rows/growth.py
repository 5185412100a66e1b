"""Measures whether the cost of a delivery grows with a room, or with the rooms held: it should not."""

import random
from collections.abc import Callable
from functools import partial
from typing import Final

from bench.contenders.gateways import ROOMCAST
from bench.load.messages import Talk
from bench.rig import Sockets, rigs
from bench.rows.one_room import one_room, volleys
from bench.rows.scene import Scene
from shared.ids import new_id

SIZES: Final = (100, 10_000)
PER_USER: Final = 100
ROOMS: Final = (10, 10_000)
SOCKETS: Final = 10
MOST_ROOMS: Final = {"GATEWAY_MAX_ROOMS": str(max(ROOMS) // SOCKETS)}
SECONDS: Final = 3.0
_MICRO: Final = 1e6


async def room_growth(scene: Scene) -> None:
    """Roomcast: messages one at a time in a room of 100 and in one of 10,000."""
    for size in (scene.many(size, 10) for size in SIZES):
        chat_id = new_id()
        await _measure(
            scene,
            ("room growth", f"room of {size}"),
            partial(one_room, scene, chat_id, size, PER_USER),
            partial(list, [chat_id]),
            size,
        )


async def rooms_growth(scene: Scene) -> None:
    """Roomcast: ten messages at the same moment, one to each socket, with 10 rooms held and with 10,000."""
    for count in (scene.many(count, SOCKETS) for count in ROOMS):
        chats = [new_id() for _ in range(count)]
        of_socket = [chats[number::SOCKETS] for number in range(SOCKETS)]
        await _measure(
            scene,
            ("rooms growth", f"{count} rooms"),
            partial(_sockets, scene, of_socket),
            partial(_one_of_each, of_socket, random.Random(3)),
            1,
        )


async def _measure(
    scene: Scene,
    what: tuple[str, str],
    sockets: Callable[[], Sockets],
    chats: Callable[[], list[str]],
    members: int,
) -> None:
    (figure, held), talk = what, Talk()
    async with rigs(
        scene.environment,
        [ROOMCAST],
        sockets,
        name=held.replace(" ", "-"),
        profile=scene.profile,
        changes=MOST_ROOMS,
    ) as made:
        rig = made[ROOMCAST]
        await volleys(rig, rig.feeder, talk, chats, members, 0.5)()
        for _ in range(scene.rounds):
            work = volleys(rig, rig.feeder, talk, chats, members, SECONDS * scene.scale)
            spent = await rig.spend(work, expected=SECONDS + 1)
            scene.book.add(figure, f"roomcast, {held}", spent.cpu / spent.frames * _MICRO, spent)


def _sockets(scene: Scene, of_socket: list[list[str]]) -> Sockets:
    user = new_id()
    return [(scene.environment.token(user), chats) for chats in of_socket]


def _one_of_each(of_socket: list[list[str]], chance: random.Random) -> list[str]:
    return [chance.choice(chats) for chats in of_socket]
