"""Retention: partitions that hold expired rows only are detached and dropped, while posts go on.

A partition is marked, detached with `CONCURRENTLY` (which locks out nobody, cannot run in a transaction, and
may be interrupted: then it is finished the next time), and dropped as a table of its own. Only what carries
the mark is dropped, so that a partition which an operator detached to keep it is left alone.
"""

from dataclasses import dataclass
from typing import Final

import asyncpg
import structlog
from prometheus_client import Counter

log = structlog.get_logger()

DETACH_SECONDS: Final = 60.0
"""How long a detaching waits for transactions that are older than it; what is left is done the next time."""

PARTITIONS_DROPPED = Counter("roomcast_api_partitions_dropped_total", "Partitions past their time", ["table"])
PARTITIONS_KEPT = Counter(
    "roomcast_api_partitions_kept_total", "Partitions past their time that hold unpublished events, each look"
)

_MARK: Final = "past its retention: detached from {} to be dropped"
_DUE: Final = (
    "SELECT c.oid::regclass::text AS name, i.inhdetachpending AS pending "
    "FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid "
    "WHERE i.inhparent = $1::text::regclass AND (i.inhdetachpending OR"
    r"  substring(pg_get_expr(c.relpartbound, c.oid) FROM 'TO \(''([^'']+)''\)')::timestamptz"
    "   <= now() - $2::int * interval '1 day') "
    "ORDER BY c.relname"
)
_DETACHED: Final = (
    "SELECT c.oid::regclass::text FROM pg_class c "
    "WHERE c.relkind = 'r' AND NOT c.relispartition AND obj_description(c.oid, 'pg_class') = $1 "
    "ORDER BY c.relname"
)


@dataclass(frozen=True, slots=True)
class Retention:
    """The numbers of days for which rows are kept at least; None for ever."""

    messages: int | None = None
    events: int | None = None

    async def apply(self, connection: asyncpg.Connection) -> None:
        """Drops expired partitions; for one at a time, the caller holds the lock of the upkeep.

        Raises:
            TimeoutError, asyncpg.PostgresError: some of it is still there; apply it again later.
        """
        await connection.execute("SET lock_timeout = '5s'")
        for table, days in (("messages", self.messages), ("events", self.events)):
            for partition in await connection.fetch(_DUE, table, days):
                if partition["pending"]:
                    await _finish(connection, table, partition["name"])
                elif table != "events" or await _published(connection, partition["name"]):
                    await _detach(connection, table, partition["name"])
            await _drop(connection, table)


async def _published(connection: asyncpg.Connection, partition: str) -> bool:
    """Returns whether every event of a partition has been published: others are never dropped."""
    unpublished = f"SELECT count(*) FROM {partition} WHERE published_at IS NULL"  # noqa: S608  from the catalogue
    left = await connection.fetchval(unpublished)
    if left:
        PARTITIONS_KEPT.inc()
        log.error("retention.unpublished", partition=partition, events=left)
    return not left


async def _detach(connection: asyncpg.Connection, table: str, partition: str) -> None:
    await connection.execute(f"COMMENT ON TABLE {partition} IS '{_MARK.format(table)}'")
    detach = f"ALTER TABLE {table} DETACH PARTITION {partition} CONCURRENTLY"
    await connection.execute(detach, timeout=DETACH_SECONDS)


async def _finish(connection: asyncpg.Connection, table: str, partition: str) -> None:
    log.info("retention.finishing", partition=partition)
    finish = f"ALTER TABLE {table} DETACH PARTITION {partition} FINALIZE"
    await connection.execute(finish, timeout=DETACH_SECONDS)


async def _drop(connection: asyncpg.Connection, table: str) -> None:
    for (partition,) in await connection.fetch(_DETACHED, _MARK.format(table)):
        await connection.execute(f"DROP TABLE {partition}", timeout=DETACH_SECONDS)
        PARTITIONS_DROPPED.labels(table).inc()
        log.info("retention.dropped", table=table, partition=partition)
