"""Lists, shows and follows the events of the store."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

import asyncpg

from chat_api.database.connections import DATABASE_ERRORS, connect
from chat_api.outbox.event_store import EventStore, Filter
from chat_api.outbox.record import CHANNEL
from roomcast.events.feed import Feed
from roomcast.events.output import Output
from roomcast.events.sources import STATEMENT_SECONDS, FailedError, NoTablesError, Sources
from shared.concurrency.backoff import backoff

_LOOK_SECONDS: Final = 1.0
_TOP: Final = 2**63 - 1


async def list_events(
    sources: Sources, out: Output, which: Filter, *, limit: int, before: int | None, after: int | None
) -> None:
    """Prints a page: the last `limit` events, or those next to a position; how to go on is on stderr."""
    async with sources.database() as connection:
        store = EventStore(connection)
        if after is not None:
            found = await store.after(which, after, limit + 1)
            shown, more = found[:limit], "--after"
        else:
            found = await store.before(which, _TOP if before is None else before, limit + 1)
            shown, more = found[-limit:], "--before"
    out.events(shown)
    if len(found) > limit:
        out.remark(f"There are more: {more} {shown[-1 if after is not None else 0].position}")
    elif not found:
        out.remark("No such event.")


async def show_event(sources: Sources, out: Output, event_id: str) -> None:
    """Prints one event with its body."""
    async with sources.database() as connection:
        found = await EventStore(connection).get(event_id)
    if found is None:
        raise FailedError(f"There is no event {event_id} in the store.")
    out.event(found)


async def tail(sources: Sources, out: Output, which: Filter, *, last: int) -> None:
    """Prints the latest events and each that comes, until cancelled; waits for a database that is away."""
    url, feed, started, pauses = sources.database_url, Feed(which), False, backoff()
    while True:
        try:
            async with _listening(url) as (store, hint):
                if not started:
                    for event in await feed.start(store, last):
                        out.followed(event)
                    started = True
                pauses = backoff()
                await _follow(store, feed, hint, out)
        except BrokenPipeError:
            raise  # of stdout
        except asyncpg.UndefinedTableError:
            raise NoTablesError from None
        except DATABASE_ERRORS as error:
            if not started:
                raise FailedError(f"The database does not answer: {error!r}") from error
            out.remark(f"The database is away ({type(error).__name__}); waiting for it.")
        await asyncio.sleep(next(pauses))


async def _follow(store: EventStore, feed: Feed, hint: asyncio.Event, out: Output) -> None:
    while True:
        hint.clear()
        fresh = await feed.more(store)
        for event in fresh:
            out.followed(event)
        if not fresh:
            try:
                await asyncio.wait_for(hint.wait(), _LOOK_SECONDS)
            except TimeoutError:
                continue


@asynccontextmanager
async def _listening(url: str) -> AsyncIterator[tuple[EventStore, asyncio.Event]]:
    connection = await connect(url, seconds=STATEMENT_SECONDS)
    hint = asyncio.Event()
    try:
        await connection.add_listener(CHANNEL, lambda *_: hint.set())
        yield EventStore(connection), hint
    finally:
        connection.terminate()
