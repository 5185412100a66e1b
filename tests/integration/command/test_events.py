"""`roomcast events` over the event store, as an operator runs it."""

import asyncio
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import orjson
import pytest
from support.database import Database
from support.program import ROOMCAST, Ended, environment, roomcast, up
from support.servers import RabbitServer

from chat_api.database.connections import connect
from chat_api.outbox.event_store import EventStore, Filter
from chat_api.outbox.record import record
from roomcast.events.feed import Feed
from shared.bus.rabbit.bus import rabbit_bus
from shared.events import Event
from shared.ids import new_id

CHAT = new_id()


def event(subject: str = CHAT, type_: str = "session.ended", seq: int | None = None) -> Event:
    return Event(type_, b'{"n":1}', subject=subject, name="x", rooms=(f"chat:{subject}",), seq=seq)


def lines(ended: Ended) -> list[dict[str, Any]]:
    """Reads what `--json` printed."""
    return [orjson.loads(line) for line in ended.output.splitlines()]


class Listener:
    """A gateway that keeps what it gets."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.there = asyncio.Event()

    def relay(self, events: Sequence[Event]) -> None:
        self.events += events

    def linked(self, *, gap: bool) -> None:
        self.there.set()

    def unlinked(self) -> None:
        self.there.clear()


async def tell(database: Database, *events: Event, published: bool = True) -> list[Event]:
    async with database.engine.begin() as connection:
        await record(connection, *events)
    if published:
        await database.connection.execute("UPDATE events SET published_at = now()")
    return list(events)


async def test_events_are_listed_by_what_one_looks_for(tmp_path: Path, fresh: Database) -> None:
    """By chat (requests for its replies too), type, time and what is unpublished."""
    sent = await tell(fresh, event(), event(new_id()), event(type_="chat.read"))
    asked = Event("reply.requested", orjson.dumps({"chatId": CHAT}), subject=new_id())
    await tell(fresh, asked, published=False)
    expected = {
        (): [*sent, asked],
        ("--chat", CHAT.upper()): [sent[0], sent[2], asked],
        ("--chat", CHAT, "--type", "chat.read", "--type", "reply.requested"): [sent[2], asked],
        ("--unpublished",): [asked],
        ("--since", "1h"): [*sent, asked],
        ("--until", "1h"): [],
        ("--limit", "2"): [sent[2], asked],
    }
    for options, events in expected.items():
        ended = await roomcast("events", "list", "--json", *options, cwd=tmp_path, DATABASE_URL=fresh.url)
        assert (ended.status, [line["id"] for line in lines(ended)]) == (0, [e.id for e in events]), options


async def test_pages_go_both_ways_without_a_hole(tmp_path: Path, fresh: Database) -> None:
    """The position that stderr names leads to the next page."""
    sent = [each.id for each in await tell(fresh, *(event() for _ in range(25)))]

    async def page(*options: str) -> tuple[list[str], list[str]]:
        ended = await roomcast(
            "events", "list", "--json", "--limit", "10", *options, cwd=tmp_path, DATABASE_URL=fresh.url
        )
        return [line["id"] for line in lines(ended)], ended.errors.split()[-2:]

    backwards: list[str] = []
    more: list[str] = []
    for _ in range(3):
        ids, more = await page(*more)
        backwards = ids + backwards
    assert (backwards, more) == (sent, [])
    forwards, more = [], ["--after", "0"]
    while more:
        ids, more = await page(*more)
        forwards += ids
    assert forwards == sent


async def test_one_event_is_shown_whole(tmp_path: Path, fresh: Database) -> None:
    """For a person and for a program; one that is not there is said so, with status 1."""
    [told] = await tell(fresh, event(seq=7))
    shown = await roomcast("events", "show", told.id, cwd=tmp_path, DATABASE_URL=fresh.url)
    assert all(word in shown.output for word in (told.id, CHAT, '"n": 1'))
    [line] = lines(await roomcast("events", "show", told.id, "--json", cwd=tmp_path, DATABASE_URL=fresh.url))
    assert (line["id"], line["seq"], line["body"], line["rooms"]) == (told.id, 7, {"n": 1}, [f"chat:{CHAT}"])
    missing = await roomcast("events", "show", new_id(), cwd=tmp_path, DATABASE_URL=fresh.url)
    assert (missing.status, "no event" in missing.errors) == (1, True)


async def test_tail_follows_until_it_is_interrupted(tmp_path: Path, fresh: Database) -> None:
    """The latest first, then each as it is recorded; an interrupt is an orderly end."""
    before = await tell(fresh, event(), event())
    running = await asyncio.create_subprocess_exec(
        sys.executable,
        *ROOMCAST,
        *("events", "tail", "--json", "--last", "1", "--chat", CHAT),
        cwd=tmp_path,
        env=environment(DATABASE_URL=fresh.url),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    assert running.stdout is not None

    async def following() -> str:
        assert running.stdout is not None
        return str(orjson.loads(await asyncio.wait_for(running.stdout.readline(), 20))["id"])

    try:
        assert await following() == before[-1].id
        await tell(fresh, event(new_id()))
        later = await tell(fresh, event(), event())
        assert [await following(), await following()] == [each.id for each in later]
        running.send_signal(signal.SIGINT)
        output, errors = await asyncio.wait_for(running.communicate(), 10)
        assert (running.returncode, output, errors) == (0, b"", b"")
    finally:
        if running.returncode is None:
            running.kill()


async def test_what_commits_late_is_followed_too(fresh: Database) -> None:
    """Positions are taken before the commit: one may turn up below those that were told already."""
    await tell(fresh, event())
    slow = await connect(fresh.url)
    transaction = slow.transaction()
    await transaction.start()
    insert = "INSERT INTO events (id, time, type, subject, body) VALUES ($1, now(), 'chat.read', '', '{}')"
    await slow.execute(insert, late := new_id())
    feed, store = Feed(Filter()), EventStore(fresh.connection)
    [told] = await tell(fresh, event())
    assert [each.event.id for each in await feed.start(store, 1)] == [told.id]
    assert await feed.more(store) == []
    await slow.execute(insert, later := new_id())
    [next_] = await tell(fresh, event())
    assert [each.event.id for each in await feed.more(store)] == [next_.id]
    await transaction.commit()
    assert [each.event.id for each in await feed.more(store)] == [late, later]
    assert await feed.more(store) == []
    await slow.close()


async def test_a_replay_reaches_gateways_under_the_same_id(
    tmp_path: Path, fresh: Database, rabbitmq: RabbitServer
) -> None:
    """By id or by what events have in common, in order; what a gateway has relayed it passes over."""
    sent = await tell(fresh, *(event() for _ in range(5)), event(new_id()))
    [waiting] = await tell(fresh, event(), published=False)
    settings = {"DATABASE_URL": fresh.url, "RABBITMQ_URL": rabbitmq.url}
    listener = Listener()
    async with rabbit_bus(rabbitmq.url, name="test") as bus:
        consuming = asyncio.create_task(bus.consume_gateway("replayed", listener))
        try:
            await asyncio.wait_for(listener.there.wait(), 10)
            one = await roomcast("events", "replay", sent[0].id, cwd=tmp_path, **settings)
            assert one.status == 0
            asked = await roomcast("events", "replay", "--chat", CHAT, cwd=tmp_path, **settings)
            assert (asked.status, asked.errors.startswith("5 events to publish again; 0 are")) == (1, True)
            for _ in range(2):
                done = await roomcast(
                    "events", "replay", "--chat", CHAT, "--yes", "--json", cwd=tmp_path, **settings
                )
                assert (done.status, [line["id"] for line in lines(done)]) == (0, [e.id for e in sent[:5]])
            await asyncio.sleep(0.3)
            assert listener.events == sent[:5]
            refused = await roomcast("events", "replay", waiting.id, new_id(), cwd=tmp_path, **settings)
            assert (refused.status, "2 of 2" in refused.errors) == (1, True)
            assert "not published yet" in refused.output
            assert listener.events == sent[:5]
        finally:
            consuming.cancel()
            await asyncio.wait([consuming])


async def test_a_replay_tells_nobody_what_is_not_so_any_more(
    tmp_path: Path, fresh: Database, rabbitmq: RabbitServer
) -> None:
    """A removal of who is a member again, a deletion of a chat that is there, a reply that was written."""
    user = await fresh.user()
    chat = await fresh.chat(user)
    outdated = [
        Event("member.removed", orjson.dumps({"chatId": chat, "userId": user}), subject=chat),
        Event("chat.deleted", b"{}", subject=chat),
        Event("reply.requested", b"{}", subject=new_id()),
        Event("message.updated", orjson.dumps({"id": new_id()}), subject=chat),
        Event("chat.read", orjson.dumps({"userId": user, "seq": 3}), subject=chat),
    ]
    so = [
        Event("chat.read", orjson.dumps({"userId": user, "seq": 0}), subject=chat),
        Event("chat.deleted", b"{}", subject=new_id()),
    ]
    await tell(fresh, *outdated, *so)
    settings = {"DATABASE_URL": fresh.url, "RABBITMQ_URL": rabbitmq.url}
    done = await roomcast("events", "replay", "--since", "1h", "-y", "--json", cwd=tmp_path, **settings)
    assert done.status == 0
    assert {line["id"] for line in lines(done) if line["done"]} == {each.id for each in so}
    assert {line["id"] for line in lines(done) if not line["done"]} == {each.id for each in outdated}


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["list"], "DATABASE_URL is not set, and no `roomcast up`"),
        (["tail"], "DATABASE_URL is not set"),
        (["replay", "x"], "RABBITMQ_URL is not set"),
        (["dead", "list"], "within its own process"),
        (["dead", "drop", "--all", "--yes"], "RABBITMQ_URL is not set"),
        (["replay"], "give event ids"),
        (["replay", "x", "--type", "y"], "give event ids"),
        (["list", "--since", "soon"], "not a time like"),
        (["list", "--before", "1", "--after", "1"], "not both"),
        (["dead", "replay"], "give ids, or --all"),
    ],
)
async def test_what_is_missing_or_wrong_is_said(tmp_path: Path, arguments: list[str], said: str) -> None:
    """Status 2, a line that says what to set, no traceback."""
    ended = await roomcast("events", *arguments, cwd=tmp_path, COLUMNS="200")
    assert (ended.status, "Traceback" in ended.errors) == (2, False)
    assert said in ended.errors


async def test_servers_that_are_away_are_said_so(tmp_path: Path) -> None:
    """Status 1, no password."""
    ended = await roomcast(
        "events", "list", cwd=tmp_path, DATABASE_URL="postgresql://u:hunter2@127.0.0.1:1/b"
    )
    assert (ended.status, "does not answer" in ended.errors) == (1, True)
    dead = await roomcast(
        "events", "dead", "list", cwd=tmp_path, RABBITMQ_URL="amqp://u:hunter2@127.0.0.1:1/"
    )
    assert (dead.status, "RabbitMQ" in dead.errors) == (1, True)
    assert "hunter2" not in ended.errors + dead.errors


async def test_the_store_of_a_running_up_is_found(tmp_path: Path) -> None:
    """By its DATA_DIR, without any setting."""
    async with up(tmp_path) as running:
        await running.ready()
        ended = await roomcast("events", "list", "--type", "chat.created", "--json", cwd=tmp_path)
        assert (ended.status, {line["type"] for line in lines(ended)}) == (0, {"chat.created"})
