"""Measures a room of 1000: messages one at a time, and in bursts."""

from collections.abc import Awaitable, Callable
from time import monotonic
from typing import Final

from bench.load.feeders import Feeder
from bench.load.messages import Talk
from bench.rig import EACH_ALONE, Rig, Sockets, rigs, ways
from bench.rows.scene import Scene
from shared.ids import new_id

ROOM: Final = 1000
SOCKETS_PER_USER: Final = 20
BURST: Final = 25
SECONDS: Final = 3.0
WARM_SECONDS: Final = 0.5
_MICRO: Final = 1e6


async def room1000(scene: Scene) -> None:
    """Messages of a room of 1000, the next when all have got the one before."""
    await _in_turn(scene, "room1000", 1)


async def bursts(scene: Scene) -> None:
    """25 messages of a room of 1000 at the same moment, the next 25 when all have got these."""
    await _in_turn(scene, "bursts", BURST)


async def _in_turn(scene: Scene, figure: str, at_once: int) -> None:
    chat_id, talk, size = new_id(), Talk(), scene.many(ROOM, 50)

    def sockets() -> Sockets:
        return one_room(scene, chat_id, size)

    async with rigs(scene.environment, scene.kinds, sockets, name=figure, profile=scene.profile) as made:
        # A message that comes alone is fed in the same way by both of Roomcast's feeders.
        them = [way for way in ways(made, scene.environment) if at_once > 1 or way[0] != EACH_ALONE]
        for _, rig, feeder in them:
            await volleys(rig, feeder, talk, lambda: [chat_id] * at_once, size, WARM_SECONDS * scene.scale)()
        for _ in range(scene.rounds):
            for who, rig, feeder in them:
                work = volleys(rig, feeder, talk, lambda: [chat_id] * at_once, size, SECONDS * scene.scale)
                spent = await rig.spend(work, expected=SECONDS + 2)
                scene.book.add(figure, who, spent.cpu / spent.frames * _MICRO, spent)


def one_room(scene: Scene, chat_id: str, size: int, per_user: int = SOCKETS_PER_USER) -> Sockets:
    """Returns sockets in one chat; each user has several, so that few presence events are due."""
    users = [new_id() for _ in range(-(-size // per_user))]
    return [(scene.environment.token(users[number // per_user]), [chat_id]) for number in range(size)]


def volleys(
    rig: Rig, feeder: Feeder, talk: Talk, chats: Callable[[], list[str]], members: int, seconds: float
) -> Callable[[], Awaitable[None]]:
    """Returns work: for that long, a message of each of `chats()` at once, again when all have come."""

    async def work() -> None:
        until = monotonic() + seconds
        frames = (await rig.crowd.count())["frames"]
        while monotonic() < until:
            messages = talk.burst(chats())
            await feeder.feed(messages)
            frames += members * len(messages)
            await rig.crowd.wait(frames)

    return work
