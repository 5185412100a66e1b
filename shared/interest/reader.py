"""The look-up of the gateways that hold one of an event's rooms."""

from collections.abc import Sequence
from typing import Any, Final, Protocol

from prometheus_client import Counter
from redis.asyncio import Redis
from redis.asyncio.client import Pipeline

from shared.events import Event, user_room
from shared.interest.memory import InterestMemory, Kind, kind_of
from shared.store.keys import (
    EPOCH,
    FORGOTTEN_SECONDS,
    GATEWAYS,
    STALE_SECONDS,
    keys_of,
    seconds,
    text,
)
from shared.store.outages import OptionalStore

LOOKUPS: Final = Counter(
    "roomcast_interest_lookups", "Events routed, by what was known of them.", ["outcome"]
)

_SKIP_SECONDS: Final = 1.0
"""For how long Redis is not asked after it failed to answer, so that not every event waits for it."""

_known = LOOKUPS.labels("known")
_unknown = LOOKUPS.labels("unknown")

_ROOMS_END: Final = b"\xfe"
"""Another byte that no text in UTF-8 has."""
_LOOK: Final = f"""
local holders = {{}}
for rooms in string.gmatch(ARGV[1], '[^\\254]+') do
  local keys, names, seen = {{}}, {{}}, {{}}
  for key in string.gmatch(rooms, '[^\\255]+') do keys[#keys + 1] = key end
  for first = 1, #keys, 1000 do
    local last = math.min(first + 999, #keys)
    for _, name in ipairs(redis.call('SUNION', unpack(keys, first, last))) do
      if not seen[name] then
        seen[name] = true
        names[#names + 1] = name
      end
    end
  end
  holders[#holders + 1] = names
end
return {{holders, redis.call('ZRANGE', '{GATEWAYS}', 0, -1, 'WITHSCORES'), redis.call('GET', '{EPOCH}'),
  redis.call('TIME')}}
"""
"""One command and one answer, whatever is asked: each costs its sender some ten times what it costs Redis.
Rooms come first: a gateway whose registration is under way says so in its heartbeat before it writes."""


class Write(Protocol):
    """A write in the same round trip, before the look."""

    def queue(self, pipeline: Pipeline) -> None:
        """Adds its commands."""

    def take(self, answers: Sequence[Any]) -> None:
        """Takes what they were answered, if they were. What it raises is passed on."""


class InterestReader:
    """Looks up who holds rooms; with a `memory`, it can guess, too."""

    def __init__(self, redis: Redis, memory: InterestMemory | None = None) -> None:
        self._redis = redis
        self._memory = memory
        self._store = OptionalStore("interest.unknown", seconds=_SKIP_SECONDS)

    def guess(self, events: Sequence[Event]) -> list[frozenset[str]] | None:
        """Guesses for each event the instances that it may be for; None unless all can be guessed.

        Some may be missing: to be right, look who they are after the event was published, and publish it to
        those as well.
        """
        if self._memory is None:
            return None
        guesses = []
        kinds: dict[str, Kind] = {}
        for event in events:
            guess = None if event.everywhere else self._memory.guess(event)
            kind = kind_of(event)
            # A gateway might be in the guess of the later one alone of two kinds of event of a room.
            if guess is None or any(kinds.setdefault(room, kind) != kind for room in event.rooms):
                return None
            guesses.append(guess)
        return guesses

    async def gateways(
        self, events: Sequence[Event], *, first: Write | None = None
    ) -> list[frozenset[str] | None]:
        """Looks up for each event the instances that it is for; None for every one. Raises no Redis error.

        One round trip, however many events; none where no event has rooms. `first` is written before it is
        looked: who comes too late to be found here finds it written.
        """
        keys = [self._keys_of(event) for event in events]
        asked = list(dict.fromkeys(one for one in keys if one))
        holders = await self._holders(asked, first)
        answers = [holders.get(one) if one else _roomless(one) for one in keys]
        if self._memory is not None and holders:
            for event, one, answer in zip(events, keys, answers, strict=True):
                if one and answer is not None:
                    self._memory.learn(event, one, answer)
        unknown = answers.count(None)
        _unknown.inc(unknown)
        _known.inc(len(answers) - unknown)
        return answers

    def _keys_of(self, event: Event) -> bytes | None:
        """Returns the keys of the rooms of those who get something from it; None for everywhere."""
        if event.everywhere:
            return None
        remembered = None if self._memory is None else self._memory.asked(event)
        return remembered or keys_of((*event.rooms, *map(user_room, event.users)))

    async def _holders(self, asked: Sequence[bytes], first: Write | None) -> dict[bytes, frozenset[str]]:
        """Returns the holders of each of `asked`; none when they cannot be known."""
        if not asked or self._store.away:
            return {}
        found = await self._store.ask(self._read(asked, first))
        if found is None:
            return {}
        members, beats, epoch, time = found
        now = seconds(time)
        if epoch is None or now < float(epoch):
            return {}
        fresh, stale = _sorted_by_age(beats, now)
        return {
            one: stale | fresh.intersection(map(text, names))
            for one, names in zip(asked, members, strict=True)
        }

    async def _read(self, asked: Sequence[bytes], first: Write | None) -> list[Any]:
        rooms = _ROOMS_END.join(asked)
        if first is None:
            found: list[Any] = await self._redis.eval(_LOOK, 0, rooms)
            return found
        pipeline = self._redis.pipeline(transaction=False)
        first.queue(pipeline)
        pipeline.eval(_LOOK, 0, rooms)
        *written, found = await pipeline.execute()
        first.take(written)
        return found


def _roomless(keys: bytes | None) -> frozenset[str] | None:
    return None if keys is None else frozenset()


def _sorted_by_age(beats: Sequence[bytes | str], now: float) -> tuple[frozenset[str], frozenset[str]]:
    """Returns the gateways with known rooms, and those with unknown ones; the forgotten are in neither.

    `beats`: names and times in turn.
    """
    ages = {text(instance): now - float(beat) for instance, beat in zip(beats[::2], beats[1::2], strict=True)}
    fresh = frozenset(instance for instance, age in ages.items() if age <= STALE_SECONDS)
    stale = frozenset(instance for instance, age in ages.items() if STALE_SECONDS < age <= FORGOTTEN_SECONDS)
    return fresh, stale
