"""Presence: the users who are online in a chat, as all gateways together see it.

Redis hash `roomcast:presence:<chat id>`: a field `<instance>|<user id>` for each user with a joined socket at
that gateway, kept for three hours, refreshed every hour. What gateways that are gone have left there counts
for nothing: whose last heartbeat (`shared.interest`) is too old is gone.
"""

from collections.abc import Iterable, Sequence
from collections.abc import Set as AbstractSet
from typing import Any, Final

from redis.asyncio import Redis

from shared.store.keys import GATEWAYS, seconds, text
from shared.store.outages import OptionalStore

KEPT_SECONDS: Final = 3 * 3600
GONE_SECONDS: Final = 15.0
"""A gateway whose heartbeat is older is gone. One comes twice a second, and may be 2.5 s old by intention."""

_SKIP_SECONDS: Final = 1.0
"""For how long Redis is not asked after it failed to answer, so that not every reader waits for it."""

_WRITE: Final = f"""
local at, found = 2, {{}}
for number, chat in ipairs(KEYS) do
  local left, here = at + 2 + tonumber(ARGV[at]), tonumber(ARGV[at + 1])
  for field = at + 2, left - 1 do redis.call('HDEL', chat, ARGV[field]) end
  at = left + here
  for field = left, at - 1 do redis.call('HSET', chat, ARGV[field], '1') end
  if here > 0 then redis.call('EXPIRE', chat, ARGV[1]) end
  found[number] = redis.call('HKEYS', chat)
end
return {{found, redis.call('ZRANGE', '{GATEWAYS}', 0, -1, 'WITHSCORES'), redis.call('TIME')}}
"""
"""All in one step, with one answer: each costs who asks some ten times what it costs Redis. It is told, after
the seconds to keep a chat, for each: how many leave it, how many are here, and their fields."""

Change = tuple[str, str, bool]
"""Chat id, user id, and whether the user has a joined socket at the writing gateway."""
Sighting = frozenset[str]
"""User ids."""
NOBODY: Final[Sighting] = frozenset()


class Presence:
    """Reads presence, and writes a gateway's part of it."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._store = OptionalStore("presence.unknown", seconds=_SKIP_SECONDS)

    async def online(self, chat_id: str) -> list[str]:
        """Returns the sorted ids of users with a joined socket at any gateway; none while Redis is away."""
        if self._store.away:
            return []
        return await self._store.ask(self._online(chat_id)) or []

    async def _online(self, chat_id: str) -> list[str]:
        async with self._redis.pipeline(transaction=False) as pipeline:
            pipeline.hkeys(_key(chat_id))
            _queue_heartbeats(pipeline)
            fields, beats, time = await pipeline.execute()
        living = _living(beats, time)
        return sorted({user_id for instance, user_id in _parsed(fields) if instance in living})

    async def gone(self) -> frozenset[str]:
        """Returns the gateways whose last heartbeat is too old.

        Raises:
            RedisError: Redis does not answer.
        """
        async with self._redis.pipeline(transaction=False) as pipeline:
            _queue_heartbeats(pipeline)
            beats, time = await pipeline.execute()
        return frozenset(text(instance) for instance, _ in beats) - _living(beats, time)

    async def clear(self, chat_ids: Sequence[str], gone: AbstractSet[str]) -> list[tuple[str, str]]:
        """Takes out of these chats what the gateways `gone` have left there.

        Returns:
            Chat and user id of each who is not online any more; each is given to one caller only.

        Raises:
            RedisError: Redis does not answer; it may have been done nevertheless.
        """
        async with self._redis.pipeline(transaction=False) as pipeline:
            for chat_id in chat_ids:
                pipeline.hkeys(_key(chat_id))
            found = await pipeline.execute()
        seen = [
            (chat_id, *one)
            for chat_id, fields in zip(chat_ids, found, strict=True)
            for one in _parsed(fields)
        ]
        left = [(chat_id, at, user_id) for chat_id, at, user_id in seen if at in gone]
        async with self._redis.pipeline(transaction=False) as pipeline:
            for chat_id, at, user_id in left:
                pipeline.hdel(_key(chat_id), _field(at, user_id))
            taken = await pipeline.execute()
        online = {(chat_id, user_id) for chat_id, at, user_id in seen if at not in gone}
        mine = {(chat_id, user_id) for (chat_id, _, user_id), was in zip(left, taken, strict=True) if was}
        return sorted(mine - online)

    async def write(self, instance: str, changes: Sequence[Change]) -> list[Sighting]:
        """Writes changes at the gateway `instance`, all in one step.

        Returns:
            For each change the users who are online in its chat after all of them, whatever this gateway
            itself says of the change's user: who is among them when seen at another gateway.

        Raises:
            RedisError: Redis does not answer; it may have been written nevertheless.
        """
        if not changes:
            return []
        chats: dict[str, list[Change]] = {}
        for change in changes:
            chats.setdefault(change[0], []).append(change)
        arguments = [word for of_chat in chats.values() for word in _words(instance, of_chat)]
        keys = map(_key, chats)
        found, beats, time = await self._redis.eval(_WRITE, len(chats), *keys, KEPT_SECONDS, *arguments)
        living = _living(zip(beats[::2], map(float, beats[1::2]), strict=True), time) | {instance}
        seen = {chat_id: _places(fields, living) for chat_id, fields in zip(chats, found, strict=True)}
        return [
            frozenset(who for who, places in seen[chat_id].items() if who != user_id or places != {instance})
            for chat_id, user_id, _ in changes
        ]


def _words(instance: str, changes: Iterable[Change]) -> list[str | int]:
    """Returns the arguments of `_WRITE` for one chat."""
    here: list[str] = []
    left: list[str] = []
    for _, user_id, is_here in changes:
        (here if is_here else left).append(_field(instance, user_id))
    return [len(left), len(here), *left, *here]


def _places(fields: Iterable[bytes | str], living: AbstractSet[str]) -> dict[str, set[str]]:
    """Returns the users in a chat, and the `living` gateways at which each is."""
    places: dict[str, set[str]] = {}
    for instance, user_id in _parsed(fields):
        if instance in living:
            places.setdefault(user_id, set()).add(instance)
    return places


def _queue_heartbeats(pipeline: Any) -> None:
    pipeline.zrange(GATEWAYS, 0, -1, withscores=True)
    pipeline.time()


def _living(beats: Iterable[tuple[bytes | str, float]], time: Any) -> frozenset[str]:
    now = seconds(time)
    return frozenset(text(instance) for instance, beat in beats if now - beat <= GONE_SECONDS)


def _key(chat_id: str) -> str:
    return f"roomcast:presence:{chat_id}"


def _field(instance: str, user_id: str) -> str:
    return f"{instance}|{user_id}"


def _parsed(fields: Iterable[bytes | str]) -> Iterable[tuple[str, str]]:
    """Yields instance and user id of each field. A user id may have a `|` in it, an instance never has."""
    for field in fields:
        instance, _, user_id = text(field).partition("|")
        yield instance, user_id
