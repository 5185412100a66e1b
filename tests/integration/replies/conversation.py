"""A chat whose messages are all answered, as the API's rows."""

import asyncio

from support.database import Database
from support.posting import post_of

from chat_api.chats.group_commit import Poster, Verdict
from chat_api.database.connections import connect
from shared.bus import Job
from shared.events import (
    REPLY_FAILED,
    REPLY_FINISHED,
    Event,
    ReplyFailed,
    ReplyFinished,
)


class Conversation:
    """A chat whose messages are all answered, with so many messages posted."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self.chat = ""

    async def begin(self, posts: int) -> "Conversation":
        user = await self._database.user()
        self.chat = await self._database.chat(user, assistant="always")
        poster = Poster(lambda: connect(self._database.url))
        running = asyncio.create_task(poster.run())
        for _ in range(posts):
            assert (await poster.post(post_of(self.chat, user))).verdict is Verdict.CREATED
        running.cancel()
        await asyncio.wait([running])
        return self

    async def statuses(self) -> list[tuple[str, str]]:
        rows = await self._database.connection.fetch(
            "SELECT id::text, status FROM replies WHERE chat_id = $1 ORDER BY reply_to_seq", self.chat
        )
        return [(row["id"], row["status"]) for row in rows]

    async def said(self) -> list[tuple[str, str, str]]:
        rows = await self._database.connection.fetch(
            "SELECT id::text, role, content FROM messages WHERE chat_id = $1 ORDER BY seq", self.chat
        )
        return [(row["id"], row["role"], row["content"]) for row in rows]

    def finished(self, reply: str, content: str = "an answer") -> Job:
        body = ReplyFinished(reply_id=reply, chat_id=self.chat, content=content, metadata={"model": "x"})
        return Job(Event(type=REPLY_FINISHED, body=body.json_bytes(), request_id="r9"))

    def failed(self, reply: str, code: str = "demo_failure") -> Job:
        body = ReplyFailed(reply_id=reply, chat_id=self.chat, code=code)
        return Job(Event(type=REPLY_FAILED, body=body.json_bytes()))
