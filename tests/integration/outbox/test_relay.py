"""The outbox's relay, on a real PostgreSQL."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import asyncpg
from integration.outbox.publisher import Ear, all_marked, event, tell, unpublished
from support.database import Database
from support.proxy import Link
from support.servers import PostgresServer

from chat_api.chats.members import TOLD_SECONDS, Members
from chat_api.database.connections import connect
from chat_api.outbox.leader import SILENCE_SECONDS, Leader
from chat_api.outbox.record import record
from chat_api.outbox.relay import LOOK_SECONDS
from shared.events import MEMBER_REMOVED
from shared.ids import new_id


@asynccontextmanager
async def relaying(url: str, ear: Ear) -> AsyncIterator[asyncio.Task[None]]:
    task = asyncio.create_task(Leader(lambda: connect(url), ear).run())
    try:
        yield task
    finally:
        task.cancel()
        await asyncio.wait([task])


async def test_what_is_recorded_arrives_whole_and_in_order(fresh: Database) -> None:
    ear = Ear()
    sent = [event(str(number)) for number in range(1200)]
    await tell(fresh, *sent)
    async with relaying(fresh.url, ear):
        await ear.until(1200)
        assert ear.heard == sent
        await tell(fresh, late := event("late"))
        await ear.until(1201)
    assert ear.heard[-1] == late


async def test_what_is_rolled_back_is_never_published(fresh: Database) -> None:
    ear = Ear()
    async with fresh.engine.connect() as connection:
        await record(connection, event("undone"))
        await connection.rollback()
    async with relaying(fresh.url, ear):
        await tell(fresh, event("kept"))
        await ear.until(1)
    assert [each.subject for each in ear.heard] == ["kept"]


async def test_what_the_bus_refuses_is_published_when_it_is_back(fresh: Database) -> None:
    ear = Ear()
    ear.away = True
    async with relaying(fresh.url, ear):
        await tell(fresh, event("a"), event("b"))
        await asyncio.wait_for(ear.refused.wait(), 5)
        assert await unpublished(fresh) == 2
        ear.away = False
        await ear.until(2)
    assert [each.subject for each in ear.heard] == ["a", "b"]


async def test_one_leads_and_another_takes_over(fresh: Database) -> None:
    first, second = Ear(), Ear()
    async with relaying(fresh.url, first) as leader:
        await tell(fresh, event("one"))
        await first.until(1)
        async with relaying(fresh.url, second):
            await tell(fresh, event("two"))
            await first.until(2)
            await all_marked(fresh)
            leader.cancel()
            await asyncio.wait([leader])
            await tell(fresh, event("three"))
            await second.until(1)
    assert [each.subject for each in second.heard] == ["three"]


async def test_a_leader_that_stops_finishes_what_it_publishes_and_hands_over(fresh: Database) -> None:
    """Nothing is published twice, and the next one does not wait until it looks again."""
    first, second = Ear(), Ear()
    first.seconds = 0.3
    async with relaying(fresh.url, first) as leader:
        await tell(fresh, event("one"))
        await first.asked.wait()
        async with relaying(fresh.url, second):
            await asyncio.sleep(LOOK_SECONDS / 5)  # it has looked once, and waits
            leader.cancel()
            await asyncio.wait([leader])
            assert await unpublished(fresh) == 0
            await tell(fresh, event("two"))
            async with asyncio.timeout(LOOK_SECONDS / 2):
                await second.until(1)
    assert [[each.subject for each in ear.heard] for ear in (first, second)] == [["one"], ["two"]]


async def test_another_takes_over_from_a_leader_that_is_cut_off(
    fresh: Database, postgres: PostgresServer
) -> None:
    """Nothing ends the connection of a leader behind a network that drops everything: its silence does."""
    first, second = Ear(), Ear()
    async with Link(postgres.port) as link:
        through = fresh.url.replace(f":{postgres.port}/", f":{link.port}/")
        async with relaying(through, first):
            await tell(fresh, event("one"))
            await first.until(1)
            await all_marked(fresh)
            async with relaying(fresh.url, second):
                link.freeze()
                await tell(fresh, event("two"))
                async with asyncio.timeout(5):
                    await second.until(1)
                link.heal()
    assert [each.subject for each in second.heard] == ["two"]


async def test_a_leader_whose_bus_is_away_gives_way(fresh: Database) -> None:
    """Another, whose link to the bus is well, relays soon."""
    for _ in range(3):
        sick, well = Ear(), Ear()
        async with relaying(fresh.url, sick):
            await tell(fresh, event("one"))
            await sick.until(1)
            await all_marked(fresh)
            async with relaying(fresh.url, well):
                await asyncio.sleep(LOOK_SECONDS / 2)  # it has looked once, and waits
                sick.away, sick.seconds = True, 2.0
                await tell(fresh, event("two"))
                async with asyncio.timeout(sick.seconds + 1.5 * LOOK_SECONDS):
                    await well.until(1)
                await all_marked(fresh)


async def test_a_leader_whose_bus_is_slow_goes_on_leading(fresh: Database) -> None:
    """Waiting for confirms is no silence."""
    slow, other = Ear(), Ear()
    slow.seconds = SILENCE_SECONDS + 1
    async with relaying(fresh.url, slow):
        await tell(fresh, event("one"))
        async with asyncio.timeout(10):
            await slow.asked.wait()  # it leads, however long it took to connect
        async with relaying(fresh.url, other):
            await slow.until(1)
            slow.seconds = 0
            await tell(fresh, event("two"))
            await slow.until(2)
    assert other.heard == []


async def test_a_lost_connection_is_made_again(fresh: Database) -> None:
    ear = Ear()
    async with relaying(fresh.url, ear):
        await tell(fresh, event("one"))
        await ear.until(1)
        cut = await fresh.connection.fetch(
            "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory' AND granted"
        )
        assert len(cut) == 1
        await tell(fresh, event("two"))
        await ear.until(2)


async def test_events_of_a_chat_keep_the_order_of_their_commits(fresh: Database) -> None:
    """A transaction that takes its positions early and commits late holds up nobody else's chat."""
    ear = Ear()
    chat = await fresh.chat(await fresh.user())
    slow: asyncpg.Connection = await connect(fresh.url)
    async with relaying(fresh.url, ear):
        transaction = slow.transaction()
        await transaction.start()
        await slow.execute(
            "INSERT INTO events (id, time, type, subject, body) "
            "VALUES ($1, now(), 'chat.read', 'slow', '{}')",
            new_id(),
        )
        await tell(fresh, event(chat))
        await ear.until(1)
        await transaction.commit()
        await ear.until(2)
    assert [each.subject for each in ear.heard] == [chat, "slow"]
    await slow.close()


async def test_a_removal_is_answered_once_it_is_told(fresh: Database) -> None:
    """Typing and chunks after that come behind it; while nobody can be told, the wait is bounded."""
    owner, member, other = [await fresh.user() for _ in range(3)]
    chat = await fresh.chat(owner, member, other)
    members, ear = Members(fresh.engine), Ear()
    ear.seconds = 0.5
    async with relaying(fresh.url, ear):
        await members.remove(owner, chat, member)
        assert [each.type for each in ear.heard] == [MEMBER_REMOVED]
    began = asyncio.get_running_loop().time()
    await members.remove(owner, chat, other)
    assert asyncio.get_running_loop().time() - began < TOLD_SECONDS + 1
