"""Posts whose events the leader publishes without reading them again, on a real PostgreSQL."""

import asyncio
from collections.abc import Sequence
from itertools import count

import orjson
import pytest
from integration.outbox.instances import Broker, Instance, Prompt, UnevenEar, relaying_without_a_look
from integration.outbox.publisher import Ear, all_marked
from support.database import Database
from support.posting import post_of

from chat_api.chats.membership import lock_chat
from chat_api.outbox import in_flight, marking
from chat_api.outbox.announcements import chat_read
from chat_api.outbox.record import Recorded, event_of, record
from shared.ids import new_id


async def test_what_is_posted_at_the_leader_is_published_without_a_look(fresh: Database) -> None:
    """The same event as the outbox holds, marked as published; one statement each, and a look a second."""
    user = await fresh.user()
    chat = await fresh.chat(user, await fresh.user())
    ear = Ear()
    instance = Instance(fresh, ear)
    async with instance.running():
        await instance.leading()
        await instance.poster.post(post_of(chat, user))
        await ear.until(1)
        await instance.poster.post(post_of(chat, user))  # what ran at the first look has ended by the second
        await ear.until(2)
        instance.statements.clear()
        began = asyncio.get_running_loop().time()
        for number in range(3, 53):
            await instance.poster.post(post_of(chat, user))
            await ear.until(number)
        assert len(instance.looks) <= asyncio.get_running_loop().time() - began + 2
    assert ear.heard == [event_of(row) for row in await fresh.events(chat)]
    assert all(row["published_at"] for row in await fresh.events(chat))


async def test_posts_and_other_changes_of_a_chat_are_published_in_the_order_of_their_commits(
    fresh: Database,
) -> None:
    """Two instances post into two chats that others change meanwhile, at once or after a while.

    Some batches are confirmed later than those after them.
    """
    user = await fresh.user()
    chats = [await fresh.chat(user) for _ in range(2)]
    ear, numbers = UnevenEar(), count()
    here, there = Instance(fresh, ear), Instance(fresh, ear)

    async def post(instance: Instance, chat: str) -> None:
        for _ in range(40):
            await instance.poster.post(post_of(chat, user))

    async def change(chat: str, seconds: float) -> None:
        for _ in range(40):
            async with fresh.engine.begin() as connection:
                await lock_chat(connection, chat, user)
                await record(connection, chat_read(chat, user, next(numbers)))
                await asyncio.sleep(seconds)

    async with here.running():
        await here.leading()
        async with there.running():
            await asyncio.gather(
                *(post(instance, chat) for instance in (here, here, there) for chat in chats),
                *(change(chat, seconds) for seconds in (0.0, 0.02) for chat in chats),
            )
            await ear.until(400)
    for chat in chats:
        recorded = [row["id"] for row in await fresh.events(chat)]
        assert [each.id for each in ear.heard if each.subject == chat] == recorded


async def test_a_post_waits_for_the_confirm_of_one_of_its_chat_alone(
    fresh: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two chats' posts pass one that the broker has not confirmed; the next of that one's chat waits."""
    user, broker = await fresh.user(), Broker()
    slow, quick, other = [await fresh.chat(user) for _ in range(3)]
    async with relaying_without_a_look(fresh, broker, monkeypatch) as instance:
        broker.hold(slow)
        for chat in (slow, quick, slow, other):
            await instance.poster.post(post_of(chat, user))
        await broker.until(2)
        assert [event.subject for event in broker.heard] == [quick, other]
        assert [event.subject for batch in broker.came for event in batch] == [slow, quick, other]
        broker.held[slow].set()
        await broker.until(4)
    for chat in (slow, quick, other):
        recorded = [row["id"] for row in await fresh.events(chat)]
        assert [each.id for each in broker.heard if each.subject == chat] == recorded
        assert all(row["published_at"] for row in await fresh.events(chat))


async def test_a_post_is_on_its_way_before_it_is_answered(
    fresh: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The relay hands it over in the step that learns of its commit, unless one of its chat is in the way."""
    user, broker = await fresh.user(), Prompt()
    chat = await fresh.chat(user)
    async with relaying_without_a_look(fresh, broker, monkeypatch) as instance:
        offer = instance.relay.offer
        handed: list[int] = []

        def offered(recorded: Sequence[Recorded]) -> bool:
            taken = offer(recorded)
            handed.append(broker.handed)
            return taken

        monkeypatch.setattr(instance.relay, "offer", offered)
        before = broker.handed
        for number in range(1, 4):
            await instance.poster.post(post_of(chat, user))
            await broker.until(number)
        assert handed == [before + 1, before + 2, before + 3]
        broker.hold(chat)
        for _ in range(3):
            await instance.poster.post(post_of(chat, user))
        assert handed[3:] == [before + 4] * 3
        broker.held.pop(chat).set()
        await broker.until(6)


async def test_many_posts_wait_for_what_is_on_its_way_and_go_together(
    fresh: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A batch has its price: more than a few do not go by themselves."""
    user, broker = await fresh.user(), Broker()
    slow, other = [await fresh.chat(user) for _ in range(2)]
    async with relaying_without_a_look(fresh, broker, monkeypatch) as instance:
        broker.hold(slow)
        for chat in [slow] * (in_flight.FEW + 2) + [other]:
            await instance.poster.post(post_of(chat, user))
        broker.held[slow].set()
        await broker.until(in_flight.FEW + 3)
    assert [len(batch) for batch in broker.came] == [1, in_flight.FEW + 2]


async def test_what_was_on_its_way_when_the_bus_failed_is_published_again(
    fresh: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each chat's events in their order; one confirmed beside the failure may be heard again."""
    user, broker = await fresh.user(), Broker()
    lost, kept = [await fresh.chat(user) for _ in range(2)]
    async with relaying_without_a_look(fresh, broker, monkeypatch) as instance:
        broker.hold(lost)
        for chat in (lost, kept, lost):
            await instance.poster.post(post_of(chat, user))
        await broker.until(1)
        broker.away = True
        broker.held.pop(lost).set()
        await broker.refused.wait()
        broker.away = False
        for chat in (lost, kept):
            await instance.poster.post(post_of(chat, user))
        while len({each.id for each in broker.heard}) < 5:
            await broker.until(len(broker.heard) + 1)
    for chat in (lost, kept):
        recorded = [row["id"] for row in await fresh.events(chat)]
        heard = [each.id for each in broker.heard if each.subject == chat]
        assert list(dict.fromkeys(heard)) == recorded


async def test_a_post_at_another_instance_reaches_the_leader(fresh: Database) -> None:
    user = await fresh.user()
    chat = await fresh.chat(user)
    leading, other = Ear(), Ear()
    here, there = Instance(fresh, leading), Instance(fresh, other)
    async with here.running():
        await here.leading()
        async with there.running():
            async with asyncio.timeout(0.8):  # less than the look a second
                await there.poster.post(post_of(chat, user))
                await leading.until(1)
    assert other.heard == []


async def test_a_leader_that_goes_while_a_post_is_stored_has_the_next_one_notified(fresh: Database) -> None:
    """It was not to notify anybody when the statement began."""
    user = await fresh.user()
    chat = await fresh.chat(user)
    first, second = Ear(), Ear()
    here, there = Instance(fresh, first), Instance(fresh, second)
    relay = asyncio.create_task(here.relay.run())
    poster = asyncio.create_task(here.poster.run())
    await here.leading()
    async with there.running():
        async with fresh.engine.begin() as connection:
            await lock_chat(connection, chat, user)
            posting = asyncio.create_task(
                here.poster.post(post_of(chat, user, message_id=(sent := new_id())))
            )
            async with asyncio.timeout(5):
                while not await fresh.connection.fetchval("SELECT count(*) FROM pg_locks WHERE NOT granted"):  # noqa: ASYNC110
                    await asyncio.sleep(0.01)
            relay.cancel()
            await asyncio.wait([relay])
            await there.leading()
        async with asyncio.timeout(0.8):
            assert orjson.loads((await posting).body)["id"] == sent
            await second.until(1)
    assert first.heard == []
    poster.cancel()
    await asyncio.wait([poster])


async def test_what_is_published_one_by_one_is_marked_together(
    fresh: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A mark waits for others, but not for a look."""
    user, broker = await fresh.user(), Broker()
    chat = await fresh.chat(user)
    async with relaying_without_a_look(fresh, broker, monkeypatch) as instance:
        await all_marked(fresh)
        monkeypatch.setattr(marking, "MARK_SECONDS", 0.5)
        instance.statements.clear()
        for number in range(1, 6):
            await instance.poster.post(post_of(chat, user))
            await broker.until(number)
        await all_marked(fresh)
        assert len(instance.marks) < 5
        assert not instance.looks


async def test_what_a_failing_bus_had_confirmed_is_not_published_again(
    fresh: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Though it was still to be marked when the bus failed."""
    monkeypatch.setattr(marking, "MARK_SECONDS", 60.0)
    user, broker = await fresh.user(), Broker()
    chat = await fresh.chat(user)
    async with relaying_without_a_look(fresh, broker, monkeypatch) as instance:
        await instance.poster.post(post_of(chat, user))
        await broker.until(1)
        broker.away = True
        await instance.poster.post(post_of(chat, user))
        await broker.refused.wait()
        broker.away = False
        await broker.until(2)
    assert [each.id for each in broker.heard] == [row["id"] for row in await fresh.events(chat)]
