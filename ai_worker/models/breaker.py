"""A circuit breaker for each model, which all workers share.

In Redis: `failures` counts faults in a row, `open` stands for as long as nobody asks the model, and `tripped`
stays from then until it has answered again. While there is `tripped` and no `open`, one reply at a time may
try: that which sets `probe`.
"""

import asyncio
from enum import IntEnum
from typing import Final

import structlog
from redis.asyncio import Redis

from ai_worker.models.metrics import BREAKER
from shared.ids import new_id
from shared.store.outages import OptionalStore, error_name

log = structlog.get_logger()

_ROW_SECONDS: Final = 300
"""Faults further apart than this are none in a row."""
_TRIPPED_SECONDS: Final = 24 * 3600
_DROP: Final = "if redis.call('GET', KEYS[1]) == ARGV[1] then redis.call('DEL', KEYS[1]) end"


class State(IntEnum):
    """The state of a breaker, as the metric shows it."""

    CLOSED = 0
    HALF_OPEN = 1
    OPEN = 2


class Breaker:
    """The breakers of all models: keep one that fails from being asked.

    `failures` in a row open it, for `seconds`; then one call in `probe_seconds` at most is let through, until
    one has succeeded. Where Redis is away, every call is let through.
    """

    def __init__(self, redis: Redis, *, failures: int, seconds: float, probe_seconds: float) -> None:
        self._redis = redis
        self._failures = failures
        self._open_ms = int(seconds * 1000)
        self._probe_ms = int(probe_seconds * 1000)
        self._store = OptionalStore("store.skipped", seconds=3.0, reason=error_name, store="breaker")
        self._probes: dict[str, str] = {}

    async def allows(self, model: str) -> bool:
        """Returns whether the model may be asked now; then call `succeeded`, `failed` or `dropped`."""
        match await self.state(model):
            case State.OPEN:
                return False
            case State.HALF_OPEN:
                return await self._claims_probe(model)
            case _:
                return True

    async def _claims_probe(self, model: str) -> bool:
        own = new_id()
        claim = self._redis.set(_key(model, "probe"), own, nx=True, px=self._probe_ms)
        try:
            claimed = await self._store.ask(claim)
        except asyncio.CancelledError:
            # Redis may have carried it out all the same.
            await self._release_probe(model, own)
            raise
        if claimed:
            self._probes[model] = own
        return bool(claimed)

    async def _release_probe(self, model: str, own: str) -> None:
        await self._store.ask(self._redis.eval(_DROP, 1, _key(model, "probe"), own))

    async def state(self, model: str) -> State:
        """Returns the state now; closed where it is not known."""
        if self._store.away:
            return State.CLOSED
        keys = [_key(model, "open"), _key(model, "tripped")]
        is_open, tripped = await self._store.ask(self._redis.mget(keys)) or (None, None)
        state = State.OPEN if is_open else State.HALF_OPEN if tripped else State.CLOSED
        BREAKER.labels(model).set(state)
        return state

    async def succeeded(self, model: str) -> None:
        """Closes the breaker: the model answered, and may be asked by all."""
        self._probes.pop(model, None)
        if self._store.away:
            return
        keys = (_key(model, part) for part in ("failures", "open", "tripped", "probe"))
        await self._store.ask(self._redis.delete(*keys))
        BREAKER.labels(model).set(State.CLOSED)

    async def dropped(self, model: str) -> None:
        """Releases the probe of a call that was abandoned, so that another may be the probe."""
        if (own := self._probes.pop(model, None)) is not None:
            await self._release_probe(model, own)

    async def failed(self, model: str) -> None:
        """Counts a fault: the model did not answer, or not as it should."""
        self._probes.pop(model, None)
        if self._store.away:
            return
        pipeline = self._redis.pipeline(transaction=True)
        pipeline.incr(_key(model, "failures"))
        pipeline.expire(_key(model, "failures"), _ROW_SECONDS)
        pipeline.exists(_key(model, "tripped"))
        failures, _, tripped = await self._store.ask(pipeline.execute()) or (0, 0, 0)
        if tripped or failures >= self._failures:
            await self._trip(model)

    async def _trip(self, model: str) -> None:
        pipeline = self._redis.pipeline(transaction=True)
        pipeline.set(_key(model, "open"), 1, px=self._open_ms)
        pipeline.set(_key(model, "tripped"), 1, ex=_TRIPPED_SECONDS)
        pipeline.delete(_key(model, "failures"), _key(model, "probe"))
        await self._store.ask(pipeline.execute())
        BREAKER.labels(model).set(State.OPEN)
        log.warning("breaker.opened", model=model, seconds=self._open_ms / 1000)


def _key(model: str, part: str) -> str:
    return f"roomcast:breaker:{{{model}}}:{part}"
