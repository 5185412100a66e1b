"""What grows with a room, and with the rooms held: nothing should."""

import random
from functools import partial
from typing import Final

from bench.contenders import ROOMCAST
from bench.feeders import feed_on_time, spread
from bench.messages import Talk
from bench.rows.one_room import one_room, volleys
from bench.rows.scene import Scene
from bench.seats import Seat, Sockets, seats
from shared.ids import new_id

SIZES: Final = (100, 10_000)
PER_USER: Final = 100
ROOMS: Final = (10, 10_000)
SOCKETS: Final = 100
RATE: Final = 500
SECONDS: Final = 4.0
_MICRO: Final = 1e6


async def room_growth(scene: Scene) -> None:
    """Roomcast: messages one at a time in a room of 100 and in one of 10,000."""
    for size in (scene.many(size, 10) for size in SIZES):
        chat_id, talk = new_id(), Talk()
        sockets = partial(one_room, scene, chat_id, size, PER_USER)
        async with seats(
            scene.ground, [ROOMCAST], sockets, name=f"room{size}", profile=scene.profile
        ) as made:
            seat = made[ROOMCAST]
            await volleys(seat, seat.feeder, talk, [chat_id], size, 0.5)()
            for _ in range(scene.rounds):
                work = volleys(seat, seat.feeder, talk, [chat_id], size, SECONDS * scene.scale)
                spent = await seat.spend(work, expected=SECONDS + 1)
                cost = spent.cpu / spent.frames * _MICRO
                scene.book.add("room growth", f"roomcast, room of {size}", cost, spent)


async def rooms_growth(scene: Scene) -> None:
    """Roomcast: 500 messages a second, each for one socket, where 10 rooms are held and where 10,000 are."""
    for count in (scene.many(count, 10) for count in ROOMS):
        chats = [new_id() for _ in range(count)]
        chance, talk = random.Random(3), Talk()
        sockets = partial(_sockets, scene, chats)
        name = f"rooms{count}"
        async with seats(scene.ground, [ROOMCAST], sockets, name=name, profile=scene.profile) as made:
            for number in range(scene.rounds + 1):
                moments = spread(chats, RATE, SECONDS * scene.scale, chance)
                cost = await _per_event(made[ROOMCAST], talk, moments)
                if number:  # the first was to get warm
                    scene.book.add("rooms growth", f"roomcast, {count} rooms", cost)


def _sockets(scene: Scene, chats: list[str]) -> Sockets:
    """As many sockets however many chats; each chat has one of them."""
    user = new_id()
    return [(scene.ground.token(user), chats[number::SOCKETS]) for number in range(SOCKETS)]


async def _per_event(seat: Seat, talk: Talk, moments: list[tuple[float, str]]) -> float:
    spent = await seat.fed(
        partial(feed_on_time, seat.feeder, talk, moments), len(moments), expected=SECONDS + 1
    )
    return spent.cpu / len(moments) * _MICRO
