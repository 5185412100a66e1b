"""Publishes stored events again, under the ids that they have."""

from collections.abc import Sequence
from typing import Final

import asyncpg
import typer

from chat_api.outbox.event_replay import Replayable, replayable
from chat_api.outbox.event_store import EventStore, Filter
from roomcast.events.output import Output
from roomcast.events.sources import FailedError, Sources
from shared.bus import Bus, BusUnavailableError, Routed
from shared.events import Event
from shared.process.links import rabbit_link

_OUTDATED: Final = "passed over: it is not so any more (--outdated publishes it nevertheless)"


async def replay_ids(sources: Sources, out: Output, ids: Sequence[str], *, outdated: bool) -> None:
    """Publishes these events again.

    Raises:
        FailedError: one of them is not there, or not published yet.
    """
    wanted, url = list(dict.fromkeys(ids)), sources.rabbitmq_url
    async with sources.database() as connection, rabbit_link(url, service="events") as bus:
        done: set[str] = set()
        async for page in replayable(connection, Filter(), ids=wanted):
            await _publish(bus, out, page, outdated=outdated)
            done.update(each.event.id for each in page)
        for missing in (each for each in wanted if each not in done):
            there = await EventStore(connection).get(missing)
            why = (
                "there is no such event"
                if there is None
                else "not published yet: the relay will, in its turn"
            )
            out.done(missing, why, well=False)
    if len(done) < len(wanted):
        raise FailedError(f"{len(wanted) - len(done)} of {len(wanted)} could not be replayed.")


async def replay_matching(sources: Sources, out: Output, which: Filter, *, yes: bool, outdated: bool) -> None:
    """Publishes again what matches now, once that is confirmed, in order.

    Raises:
        FailedError: it was not confirmed.
    """
    url = sources.rabbitmq_url
    async with sources.database() as connection:
        last = await EventStore(connection).last()
        published = so = 0
        async for page in replayable(connection, which, up_to=last):
            published += len(page)
            so += sum(each.still_so for each in page)
    due = published if outdated else so
    out.remark(f"{due} events to publish again; {published - so} are not so any more.")
    if not due:
        return
    if not yes and not typer.confirm("Publish them?", err=True):
        raise FailedError("Nothing was published.")
    async with sources.database() as connection, rabbit_link(url, service="events") as bus:
        await _publish_all(connection, bus, out, which, last=last, outdated=outdated)


async def _publish_all(
    connection: asyncpg.Connection, bus: Bus, out: Output, which: Filter, *, last: int, outdated: bool
) -> None:
    count = 0
    async for page in replayable(connection, which, up_to=last):
        try:
            count += await _publish(bus, out, page, outdated=outdated)
        except BusUnavailableError as error:
            raise FailedError(f"{count} published, then: {error}. Repeating does no harm.") from error
    out.remark(f"{count} published again.")


async def _publish(bus: Bus, out: Output, page: Sequence[Replayable], *, outdated: bool) -> int:
    """Publishes a page; returns how many of it were confirmed."""
    due = [each.event for each in page if each.still_so or outdated]
    await bus.publish([Routed(event, _gateways(event)) for event in due])
    published = {event.id for event in due}
    for each in page:
        well = each.event.id in published
        out.done(each.event.id, "published again" if well else _OUTDATED, well=well)
    return len(due)


def _gateways(event: Event) -> frozenset[str] | None:
    """Returns every gateway (None) for what sockets get; one drops what it relayed or has no room for."""
    return None if event.rooms or event.users or event.everywhere else frozenset()
