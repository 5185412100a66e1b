"""The rooms that one gateway holds, kept registered in Redis."""

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from time import monotonic
from types import TracebackType
from typing import Any, Final, Self

import structlog
from prometheus_client import Counter, Gauge
from redis.asyncio import Redis

from shared.concurrency.cancellation import is_cancelling
from shared.concurrency.waiting import wait_for_event
from shared.interest.waiters import Waiters
from shared.store.keys import (
    DROPPED,
    EPOCH,
    FORGOTTEN_SECONDS,
    GATEWAYS,
    HEARTBEAT_SECONDS,
    LEASE_SECONDS,
    REFRESH_SECONDS,
    STALE_SECONDS,
    room_key,
    seconds,
)
from shared.store.outages import REDIS_ERRORS

log = structlog.get_logger()

ROOMS: Final = Gauge("roomcast_interest_rooms", "Rooms that this gateway holds.")
REFILLS: Final = Counter("roomcast_interest_refills", "Times that all rooms were registered anew.")
LATE: Final = Counter("roomcast_interest_late_rooms", "Rooms that could not be registered in time.")

_HOLD_SECONDS: Final = 1.0
_WRITE_SECONDS: Final = 2.0
_RETRY_SECONDS: Final = 0.25
_LEAVE_SECONDS: Final = 2.0
_CHUNK: Final = 250
"""Rooms a pipeline."""
_KEPT_SECONDS: Final = 3600.0
"""How long a gateway that is gone stays in the list of gateways."""

_WRITE: Final = f"""
local held = tonumber(ARGV[3])
for number, room in ipairs(KEYS) do
  if number <= held then
    redis.call('SADD', room, ARGV[1])
    redis.call('EXPIRE', room, ARGV[2])
  else
    redis.call('SREM', room, ARGV[1])
  end
end
if held < #KEYS then
  redis.pcall('PUBLISH', '{DROPPED}', table.concat(KEYS, '\\255', held + 1))
end
"""
"""Registers the first so many of the rooms, takes the instance out of the rest, and tells so, if it may: one
answer for all."""

Missed = Callable[[frozenset[str] | None], None]


class InterestLeases:
    """Registers the rooms that this gateway holds while the `async with` block runs.

    One loop does all the writing, each time by what is held then, so that a removal never overtakes a later
    registration. Rooms are counted: one is held while it was held more often than dropped.

    Args:
        missed: told the rooms of which events may have been missed, None for all, once they are registered.
    """

    def __init__(self, redis: Redis, instance: str, *, missed: Missed) -> None:
        self._redis = redis
        self._instance = instance
        self._missed = missed
        self._held: dict[str, int] = {}
        self._registered: set[str] = set()
        self._changed: dict[str, None] = {}
        self._to_refresh: list[str] = []
        self._in_doubt: set[str] = set()
        self._late: set[str] = set()
        self._waiters = Waiters()
        self._wake = asyncio.Event()
        self._joined = False
        self._refilling: set[str] = set()
        self._lost = False
        self._next_beat = 0.0
        self._next_refresh = monotonic() + REFRESH_SECONDS
        self._loop: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._loop = asyncio.create_task(self._run(), name="interest leases")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._loop is not None:
            self._loop.cancel()
            await asyncio.gather(self._loop, return_exceptions=True)
        with suppress(*REDIS_ERRORS):
            async with asyncio.timeout(_LEAVE_SECONDS):
                await self._leave()
        ROOMS.set(0)

    async def hold(self, room: str) -> None:
        """Returns once `room` is registered: from then on its events come here.

        When Redis is away it returns after 1 s nevertheless; once registered, the room is told to `missed`.
        """
        self._held[room] = self._held.get(room, 0) + 1
        ROOMS.set(len(self._held))
        if room in self._registered and room not in self._changed:
            return
        self._change(room)
        try:
            if not await self._waiters.wait(room, seconds=_HOLD_SECONDS) and room not in self._registered:
                self._late.add(room)
                LATE.inc()
        except asyncio.CancelledError:
            await self.drop(room)
            raise

    async def drop(self, room: str) -> None:
        """Takes one hold back, without waiting; with the last, the room is unregistered soon after."""
        holds = self._held.get(room, 0)
        if holds > 1:
            self._held[room] = holds - 1
        elif holds == 1:
            del self._held[room]
            ROOMS.set(len(self._held))
            self._change(room)

    async def ping(self) -> None:
        """Returns when Redis answers.

        Raises:
            RedisError, OSError: it does not.
        """
        await self._redis.ping()

    @property
    def _complete(self) -> bool:
        """True while every room is registered, but for those still waited for."""
        return not (self._refilling or self._late)

    def _change(self, room: str) -> None:
        self._changed[room] = None
        self._wake.set()

    async def _run(self) -> None:
        """Beats and writes, until cancelled."""
        while not is_cancelling():
            try:
                async with asyncio.timeout(_WRITE_SECONDS):
                    if monotonic() >= self._next_beat:
                        await self._beat()
                    await self._flush()
            except REDIS_ERRORS as error:
                log.warning("interest.away", reason=repr(error))
                self._next_beat = 0.0
                await asyncio.sleep(_RETRY_SECONDS)
            except Exception:
                # Without heartbeats nothing would reach this gateway.
                log.exception("interest.failed")
                await asyncio.sleep(_RETRY_SECONDS)
            else:
                await self._until_due()

    async def _until_due(self) -> None:
        if self._changed or self._to_refresh or is_cancelling():
            return
        self._wake.clear()
        await wait_for_event(self._wake, seconds=self._next_beat - monotonic())

    async def _beat(self) -> None:
        pipeline = self._redis.pipeline(transaction=False)
        pipeline.time()
        pipeline.zscore(GATEWAYS, self._instance)
        pipeline.get(EPOCH)
        time, beat, epoch = await pipeline.execute()
        now = seconds(time)
        if beat is None or now - beat > FORGOTTEN_SECONDS:
            self._refill()
        pipeline = self._redis.pipeline(transaction=False)
        # A heartbeat that is stale from the start: "I may hold more than I say". Once known, never anew: if
        # Redis has forgotten everything since it was asked, the next heartbeat has to find that out.
        beat_now = now if self._complete else now - STALE_SECONDS - 0.1
        pipeline.zadd(GATEWAYS, {self._instance: beat_now}, xx=beat is not None)
        pipeline.zremrangebyscore(GATEWAYS, "-inf", now - _KEPT_SECONDS)
        if epoch is None:
            pipeline.set(EPOCH, now + STALE_SECONDS, nx=True)
        pipeline.get(EPOCH)
        pipeline.time()
        lost, missing = self._lost, self._joined and bool(self._held)
        # What holds if the answer does not come: then this may be carried out as late as that.
        self._lost = lost or (missing and _is_gone(beat, epoch, at=now + _WRITE_SECONDS))
        *_, epoch, time = await pipeline.execute()
        self._lost = lost or (missing and _is_gone(beat, epoch, at=seconds(time)))
        self._joined = True
        self._next_beat = monotonic() + HEARTBEAT_SECONDS
        self._after_beat()

    def _refill(self) -> None:
        """Registers all rooms anew: Redis does not know this gateway (any more)."""
        self._registered.clear()
        self._changed = dict.fromkeys([*self._changed, *self._held])
        self._refilling = set(self._changed)
        if self._joined:
            REFILLS.inc()
            log.warning("interest.refill", rooms=len(self._held))

    def _after_beat(self) -> None:
        # A write that was given up may yet have been carried out late, after a newer one.
        self._changed.update(dict.fromkeys(self._in_doubt))
        self._in_doubt.clear()
        if monotonic() >= self._next_refresh:
            self._next_refresh = monotonic() + REFRESH_SECONDS
            self._to_refresh = list(self._held)

    async def _flush(self) -> None:
        """Writes what changed, or a part of it; what is held decides, not what was asked."""
        rooms = list(self._changed)[:_CHUNK]
        refreshed = self._to_refresh[: _CHUNK - len(rooms)]
        for room in rooms:
            del self._changed[room]
        held = [room for room in (*rooms, *refreshed) if room in self._held]
        dropped = [room for room in rooms if room not in self._held]
        self._registered.difference_update(dropped)
        try:
            await self._write(held, dropped)
        except BaseException:
            self._changed = dict.fromkeys([*rooms, *self._changed])
            self._in_doubt.update(rooms)
            raise
        del self._to_refresh[: len(refreshed)]
        self._registered.update(room for room in held if room in self._held)
        self._settle({room for room in rooms if room not in self._changed})

    def _settle(self, written: set[str]) -> None:
        """Lets those go on who wait for `written`, which Redis now has as they are held."""
        for room in written:
            self._waiters.release(room)
        was_complete = self._complete
        late = self._late & written
        self._late -= written
        self._refilling -= written
        if self._complete and not was_complete:
            self._next_beat = 0.0
        if self._lost and not self._refilling:
            self._lost = False
            self._report_missed(None)
        elif missed := late & self._held.keys():
            self._report_missed(frozenset(missed))

    async def _write(self, held: Sequence[str], dropped: Sequence[str]) -> None:
        rooms = [*map(room_key, held), *map(room_key, dropped)]
        if rooms:
            await self._redis.eval(_WRITE, len(rooms), *rooms, self._instance, LEASE_SECONDS, len(held))

    def _report_missed(self, rooms: frozenset[str] | None) -> None:
        try:
            self._missed(rooms)
        except Exception:
            log.exception("interest.not_told", rooms=None if rooms is None else len(rooms))

    async def _leave(self) -> None:
        await self._redis.zrem(GATEWAYS, self._instance)
        rooms = [*self._held.keys() | self._registered]
        for start in range(0, len(rooms), _CHUNK):
            await self._write((), rooms[start : start + _CHUNK])


def _is_gone(beat: float | None, epoch: Any, *, at: float) -> bool:
    """Returns whether a reader trusts the store, and takes a gateway with this last heartbeat for gone."""
    if beat is None:
        return epoch is not None and at >= float(epoch)
    return at - beat > FORGOTTEN_SECONDS
