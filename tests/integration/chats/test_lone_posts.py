"""A post that comes alone has statements of its own in `store_posts`; it is stored like one of a group."""

import asyncio
import re
from random import Random
from typing import Any

import pytest
from support.database import Database
from support.posting import post_of

from chat_api.chats import group_commit as posting
from chat_api.chats.group_commit import Post, Poster
from chat_api.database.connections import connect
from shared.ids import new_id


@pytest.mark.parametrize("seed", range(4))
async def test_a_post_that_comes_alone_is_stored_like_one_of_a_group(database: Database, seed: int) -> None:
    """Every kind of post has the same verdict, and the same rows."""
    chance = Random(seed)
    members, stranger = [await database.user() for _ in range(2)], await database.user()
    await database.connection.execute(
        "INSERT INTO sessions (id, user_id, expires_at, ended_at) VALUES ($1, $2, now(), now())",
        f"ended-{stranger}",
        members[0],
    )
    sides = [Side(database, "lone"), Side(database, "group")]
    for assistant in ("off", "mention", "always"):
        for side in sides:
            side.chats.append(await database.chat(*members, assistant=assistant))
    poster = Poster(lambda: connect(database.url))
    running = asyncio.create_task(poster.run())
    for number in range(60):
        chat, replied = chance.randrange(3), chance.choice([None, None, None, 0, 1, 99])
        session = chance.choice(["none", "none", "none", f"ended-{stranger}"])
        user, key = chance.choice([*members, *members, stranger]), chance.choice([None, None, "a", "b", "c"])
        described = {
            "session_id": session,
            "content": f"number {number} \U0001f600",
            "metadata": chance.choice([None, '{"a": [1, null]}']),
            "mention": chance.random() < 0.3,
            "body": chance.choice([b"x", b"x", b"y"]),
            "traceparent": f"t{number}",
        }
        posts = [side.post(chat, user, key, replied, **described) for side in sides]
        outcome = await poster.post(posts[0])
        verdict = await posted_in_a_group(database, posts[1])
        assert outcome.verdict == verdict
        if verdict == "created":
            for side, post in zip(sides, posts, strict=True):
                side.messages[chat].append(post.message_id)
    running.cancel()
    await asyncio.wait([running])
    assert await sides[0].rows() == await sides[1].rows()


async def posted_in_a_group(database: Database, post: Post) -> str:
    verdict: str = await database.connection.fetchval(
        posting._STATEMENT.replace("store_posts", "store_post_group"), *([value] for value in post), False
    )
    return verdict


class Side:
    """One of two that are posted to alike: three chats and their messages."""

    def __init__(self, database: Database, name: str) -> None:
        self._database = database
        self._name = name
        self.chats: list[str] = []
        self.messages: list[list[str]] = [[], [], []]

    def post(self, chat: int, user: str, key: str | None, replied: int | None, **described: Any) -> Post:
        messages = self.messages[chat]
        reply_to = None if replied is None else (messages[replied] if replied < len(messages) else new_id())
        key = key and f"{self._name} {key}"
        return post_of(self.chats[chat], user, key=key, reply_to=reply_to, **described)

    async def rows(self) -> list[list[tuple[Any, ...]]]:
        """Reads the tables, without ids and times that differ from side to side."""
        names = {
            **{chat: f"chat {number}" for number, chat in enumerate(self.chats)},
            **{
                message: f"message {chat}.{number}"
                for chat, messages in enumerate(self.messages)
                for number, message in enumerate(messages)
            },
        }
        found = [await self._database.connection.fetch(select, self.chats) for select in SELECTS]
        return [
            [
                tuple(_named(value, names) for name, value in row.items() if name not in VOLATILE)
                for row in rows
            ]
            for rows in found
        ]


SELECTS = (
    "SELECT last_seq, updated_at > created_at FROM chats c WHERE id = ANY ($1) ORDER BY id",
    "SELECT * FROM members WHERE chat_id = ANY ($1) ORDER BY chat_id, user_id",
    "SELECT * FROM messages WHERE chat_id = ANY ($1) ORDER BY chat_id, seq",
    "SELECT * FROM events WHERE type = 'message.created' AND subject::uuid = ANY ($1) ORDER BY subject, seq",
    """SELECT chat_id, reply_to, status, request_id, traceparent FROM replies WHERE chat_id = ANY ($1)
       ORDER BY chat_id, reply_to_seq""",
    """SELECT k.user_id, fingerprint, message_id FROM idempotency_keys k JOIN messages m ON m.id = message_id
       WHERE m.chat_id = ANY ($1) ORDER BY m.chat_id, m.seq""",
)
VOLATILE = {"time", "joined_at", "position", "published_at"}


def _named(value: Any, names: dict[str, str]) -> Any:
    """The value with what differs from side to side replaced by names."""
    text = re.sub(r'"time":"[^"]+"', '"time":""', str(value))
    for differs, name in names.items():
        text = text.replace(differs, name)
    return text
