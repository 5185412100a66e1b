"""Upkeep of the database: makes partitions ahead of time, and removes expired rows and partitions."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

import asyncpg
import structlog
from prometheus_client import Counter, Gauge

from chat_api.database.connections import DATABASE_ERRORS
from chat_api.database.retention import Retention
from shared.concurrency.backoff import backoff

log = structlog.get_logger()

PARTITIONED: Final = ("messages", "events")
QUARTERS_AHEAD: Final = 2
EVERY_SECONDS: Final = 3600.0
LOCK: Final = 7_262_171_003
"""Advisory lock key: of several API instances one does the upkeep, the others skip their turn."""

PARTITIONS_MADE = Counter("roomcast_api_partitions_made_total", "Partitions made ahead of time", ["table"])
LAST_RUN = Gauge("roomcast_api_maintenance_last_success_timestamp_seconds", "When the last upkeep ended well")

_MAKE: Final = "SELECT make_partition($1, ((now() AT TIME ZONE 'UTC') + $2 * interval '3 months')::date)"
_EXPIRED: Final = (
    "DELETE FROM idempotency_keys WHERE created_at < now() - interval '24 hours'",
    "DELETE FROM handled_events WHERE handled_at < now() - interval '7 days'",
    # A session's row says that it has ended as long as a token of it may live.
    "DELETE FROM sessions WHERE expires_at < now() - interval '1 day'",
    "DELETE FROM refresh_tokens WHERE expires_at < now() - interval '1 day'",
)


class Maintenance:
    """Keeps the database in order, now and every hour."""

    def __init__(
        self, connect: Callable[[], Awaitable[asyncpg.Connection]], retention: Retention | None = None
    ) -> None:
        self._connect = connect
        self._retention = retention or Retention()

    async def run(self) -> None:
        """Does the upkeep until cancelled; what fails is tried again."""
        pauses = backoff(first=1.0, most=60.0)
        while True:
            try:
                await self.once()
            except DATABASE_ERRORS as error:
                log.warning("maintenance.failed", error=repr(error))
                await asyncio.sleep(next(pauses))
            else:
                pauses = backoff(first=1.0, most=60.0)
                await asyncio.sleep(EVERY_SECONDS)

    async def once(self) -> None:
        """Does one round; returns at once when another instance is at it."""
        connection = await self._connect()
        try:
            if not await connection.fetchval("SELECT pg_try_advisory_lock($1)", LOCK):
                return
            for table in PARTITIONED:
                for ahead in range(QUARTERS_AHEAD + 1):
                    if await connection.fetchval(_MAKE, table, ahead):
                        PARTITIONS_MADE.labels(table).inc()
                        log.info("maintenance.partition_made", table=table, quarters_ahead=ahead)
            for statement in _EXPIRED:
                await connection.execute(statement)
            await self._retention.apply(connection)
            LAST_RUN.set_to_current_time()
        finally:
            connection.terminate()
