"""The relay's statements, on a real PostgreSQL."""

import asyncpg
from integration.outbox.publisher import event, tell, unpublished
from sqlalchemy import text
from support.database import Database

from chat_api.outbox.gaps import SequenceGaps
from chat_api.outbox.record import record
from chat_api.outbox.unpublished import BATCH, Look, Unpublished


def subjects(look: Look) -> list[str]:
    return [each.event.subject for each in look.recorded]


async def test_a_look_finds_what_is_unpublished_in_the_order_of_positions(fresh: Database) -> None:
    outbox = Unpublished(fresh.connection)
    assert (await outbox.look()).recorded == []
    first = await outbox.last_position()
    await tell(fresh, event("a"), event("b"))
    await tell(fresh, event("c"))
    look = await outbox.look()
    assert subjects(look) == ["a", "b", "c"]
    positions = [each.position for each in look.recorded]
    assert positions == sorted(positions)
    assert await outbox.last_position() == positions[-1] >= first
    assert not look.is_full


async def test_one_look_marks_what_is_published_and_finds_the_rest(fresh: Database) -> None:
    """A look does not find what it marks, though it does not see it as marked yet."""
    outbox = Unpublished(fresh.connection)
    await tell(fresh, event("a"), event("b"), event("c"))
    published = (await outbox.look()).recorded[:2]
    assert subjects(await outbox.look(published)) == ["c"]
    assert await unpublished(fresh) == 1


async def test_what_is_marked_is_found_no_more(fresh: Database) -> None:
    outbox = Unpublished(fresh.connection)
    await tell(fresh, event("a"), event("b"))
    await outbox.mark((await outbox.look()).recorded)
    assert (await outbox.look()).recorded == []
    assert await unpublished(fresh) == 0


async def test_a_full_look_says_that_there_may_be_more(fresh: Database) -> None:
    outbox = Unpublished(fresh.connection)
    await tell(fresh, *(event(str(number)) for number in range(BATCH + 1)))
    look = await outbox.look()
    assert look.is_full
    assert subjects(look) == [str(number) for number in range(BATCH)]
    assert subjects(await outbox.look(look.recorded)) == [str(BATCH)]


async def test_a_look_tells_which_transactions_may_still_fill_a_gap(fresh: Database) -> None:
    other = await asyncpg.connect(fresh.url)
    try:
        outbox = Unpublished(fresh.connection)
        transaction = other.transaction()
        await transaction.start()
        running = await other.fetchval("SELECT pg_current_xact_id()::text::bigint")
        assert (await outbox.look()).oldest_running <= running < await outbox.next_transaction()
        await transaction.rollback()
        assert (await outbox.look()).oldest_running > running
    finally:
        await other.close()


async def look_into(outbox: Unpublished, gaps: SequenceGaps) -> Look:
    """Looks as the relay does."""
    look = await outbox.look()
    if gaps.observe([each.position for each in look.recorded], oldest_running=look.oldest_running):
        gaps.bound(await outbox.next_transaction())
    return look


async def test_a_gap_stays_open_while_the_youngest_transaction_may_fill_it(fresh: Database) -> None:
    """A snapshot ends at the last transaction that has ended: one that runs may have a later id."""
    outbox = Unpublished(fresh.connection)
    gaps = SequenceGaps(await outbox.last_position())
    for _ in range(2):
        await look_into(outbox, gaps)
    async with fresh.engine.connect() as older, fresh.engine.connect() as younger:
        for connection in (older, younger):
            await connection.execute(text("SELECT pg_current_xact_id()"))
        await record(younger, event("in the gap"))
        await record(older, event("after the gap"))
        await older.commit()
        (seen,) = (await look_into(outbox, gaps)).recorded
        await look_into(outbox, gaps)
        assert not gaps.is_next([seen.position + 1])
        await younger.commit()
    assert subjects(await look_into(outbox, gaps)) == ["in the gap", "after the gap"]
    assert gaps.is_next([seen.position + 1])


async def test_the_first_position_of_all_is_next(fresh: Database) -> None:
    outbox = Unpublished(fresh.connection)
    await fresh.connection.execute("ALTER SEQUENCE events_position RESTART")
    gaps = SequenceGaps(await outbox.last_position())
    for _ in range(2):
        await look_into(outbox, gaps)
    assert gaps.is_next([1])
