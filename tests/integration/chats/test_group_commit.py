"""Posting in groups, on a real PostgreSQL."""

import asyncio
from collections import Counter

import asyncpg
import orjson
import pytest
from support.database import Database
from support.posting import post_of

from chat_api.chats import group_commit as posting
from chat_api.chats.group_commit import Poster, PostingUnavailableError, Verdict
from chat_api.database.connections import connect
from shared.ids import new_id


async def test_posts_at_once_are_numbered_without_a_hole_and_told_in_that_order(
    database: Database, poster: Poster
) -> None:
    user = await database.user()
    chat = await database.chat(user)
    outcomes = await asyncio.gather(*(poster.post(post_of(chat, user)) for _ in range(50)))
    assert sorted(orjson.loads(each.body)["seq"] for each in outcomes) == list(range(1, 51))
    told = [event["seq"] for event in await database.events(chat) if event["type"] == "message.created"]
    assert told == list(range(1, 51))


async def test_one_key_posts_one_message_however_often_and_wherever_it_is_used(database: Database) -> None:
    """Two instances with ten posts each: one verdict `created`, the others the same body."""
    user = await database.user()
    chat = await database.chat(user)
    posters = [Poster(lambda: connect(database.url)) for _ in range(2)]
    running = [asyncio.create_task(each.run()) for each in posters]
    outcomes = await asyncio.gather(
        *(each.post(post_of(chat, user, key="k")) for _ in range(10) for each in posters)
    )
    assert Counter(each.verdict for each in outcomes) == {Verdict.CREATED: 1, Verdict.REPLAYED: 19}
    assert len({each.body for each in outcomes}) == 1
    for task in running:
        task.cancel()
    await asyncio.wait(running)


async def test_a_refusal_touches_no_other_post_of_the_group(database: Database, poster: Poster) -> None:
    user, stranger = await database.user(), await database.user()
    chat = await database.chat(user)
    await poster.post(post_of(chat, user, key="taken", body=b"first"))
    await database.connection.execute(
        "INSERT INTO sessions (id, user_id, expires_at, ended_at) VALUES ($1, $2, now(), now())",
        f"ended-{user}",
        user,
    )
    outcomes = await asyncio.gather(
        poster.post(post_of(chat, user)),
        poster.post(post_of(chat, stranger)),
        poster.post(post_of(new_id(), user)),
        poster.post(post_of(chat, user, key="taken", body=b"other")),
        poster.post(post_of(chat, user, reply_to=new_id())),
        poster.post(post_of(chat, user, session_id=f"ended-{user}")),
        poster.post(post_of(chat, user)),
    )
    assert [each.verdict for each in outcomes] == [
        Verdict.CREATED,
        Verdict.NOT_FOUND,
        Verdict.NOT_FOUND,
        Verdict.IDEMPOTENCY_MISMATCH,
        Verdict.REPLY_NOT_FOUND,
        Verdict.SESSION_ENDED,
        Verdict.CREATED,
    ]
    assert [orjson.loads(outcomes[at].body)["seq"] for at in (0, 6)] == [2, 3]


async def test_a_refused_post_does_not_use_its_key(database: Database, poster: Poster) -> None:
    user = await database.user()
    chat = await database.chat(user)
    refused = await poster.post(post_of(chat, user, key="mine", reply_to=new_id()))
    assert refused.verdict is Verdict.REPLY_NOT_FOUND
    assert (await poster.post(post_of(chat, user, key="mine", body=b"y"))).verdict is Verdict.CREATED


async def test_a_key_is_free_again_after_a_day(database: Database, poster: Poster) -> None:
    user = await database.user()
    chat = await database.chat(user)
    await poster.post(post_of(chat, user, key="old"))
    await database.connection.execute(
        "UPDATE idempotency_keys SET created_at = created_at - interval '25 hours' WHERE user_id = $1", user
    )
    again = await poster.post(post_of(chat, user, key="old", body=b"another"))
    assert again.verdict is Verdict.CREATED
    assert orjson.loads(again.body)["seq"] == 2


async def test_a_value_that_does_not_fit_fails_alone(database: Database, poster: Poster) -> None:
    user = await database.user()
    chat = await database.chat(user)
    good, bad = await asyncio.gather(
        poster.post(post_of(chat, user)),
        poster.post(post_of(chat, user, content="nul \0")),
        return_exceptions=True,
    )
    assert not isinstance(good, BaseException)
    assert good.verdict is Verdict.CREATED
    assert isinstance(bad, asyncpg.DataError)


async def test_a_database_that_is_away_is_said_in_time_and_forgotten_afterwards(database: Database) -> None:
    user = await database.user()
    chat = await database.chat(user)
    away = True

    async def sometimes() -> asyncpg.Connection:
        if away:
            raise ConnectionRefusedError
        return await connect(database.url)

    poster = Poster(sometimes)
    running = asyncio.create_task(poster.run())
    with pytest.raises(PostingUnavailableError):
        await poster.post(post_of(chat, user))
    away = False
    assert (await poster.post(post_of(chat, user))).verdict is Verdict.CREATED
    running.cancel()
    await asyncio.wait([running])


async def test_a_post_asks_for_a_reply_where_the_chat_wants_one(database: Database, poster: Poster) -> None:
    """One request at a time in a chat, with what the worker needs; the others wait their turn."""
    user = await database.user()
    always = await database.chat(user, assistant="always")
    mention = await database.chat(user, assistant="mention")
    for _ in range(2):
        await poster.post(post_of(always, user))
    await poster.post(post_of(mention, user))
    await poster.post(post_of(mention, user, mention=True))
    found = await database.connection.fetch(
        "SELECT chat_id::text AS chat, status, id::text FROM replies WHERE chat_id = ANY ($1::uuid[]) "
        "ORDER BY reply_to_seq",
        [always, mention],
    )
    assert [row["status"] for row in found if row["chat"] == always] == ["requested", "queued"]
    assert [row["status"] for row in found if row["chat"] == mention] == ["requested"]
    (event,) = await database.events(next(row["id"] for row in found if row["chat"] == mention))
    asked = orjson.loads(event["body"])
    assert asked["members"] == {user: "Some One"}
    assert [each["content"] for each in asked["history"]] == ["hello", "hello"]
    assert asked["history"][-1]["id"] == asked["replyTo"]
    assert event["request_id"] == "r1"


async def test_a_database_that_does_not_answer_is_said_in_time(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The posts that wait for it, and those behind them, get no verdict; none is lost sight of."""
    monkeypatch.setattr(posting, "ANSWER_SECONDS", 0.3)
    user = await database.user()
    chat = await database.chat(user)

    async def never() -> asyncpg.Connection:
        await asyncio.Event().wait()
        raise AssertionError

    poster = Poster(never)
    running = asyncio.create_task(poster.run())
    async with asyncio.timeout(5):
        first = asyncio.create_task(poster.post(post_of(chat, user)))
        second = asyncio.create_task(poster.post(post_of(chat, user)))
        found = await asyncio.gather(first, second, return_exceptions=True)
    assert [type(each) for each in found] == [PostingUnavailableError] * 2
    running.cancel()
    await asyncio.wait([running])


async def test_a_table_that_has_grown_is_not_read_as_a_whole(fresh: Database) -> None:
    """The plan does not rest on how little there was when PostgreSQL looked at the tables last."""
    user = await fresh.user()
    chat = await fresh.chat(user)
    await fresh.connection.execute("ANALYZE")
    before = await counted(fresh, "seq_scan")
    poster = Poster(lambda: connect(fresh.url))
    running = asyncio.create_task(poster.run())
    earlier = await poster.post(post_of(chat, user))
    message = orjson.loads(earlier.body)["id"]
    for number in range(10):
        posts = (post_of(chat, user, key=f"{number} {each}", reply_to=message) for each in range(3))
        outcomes = await asyncio.gather(*map(poster.post, posts))
        assert {each.verdict for each in outcomes} == {Verdict.CREATED}
    running.cancel()
    await asyncio.wait([running])
    async with asyncio.timeout(10):
        # PostgreSQL counts when a session ends.
        while (await counted(fresh, "n_tup_upd"))["chats"] < 11:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    assert await counted(fresh, "seq_scan") == before


async def counted(database: Database, what: str) -> dict[str, int]:
    rows = await database.connection.fetch(f"SELECT relname, {what} FROM pg_stat_user_tables")
    return {row["relname"]: row[what] for row in rows}
