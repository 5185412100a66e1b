"""A migrated database of a test's own, and rows to stand on."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import asyncpg
from sqlalchemy.ext.asyncio import AsyncEngine

from chat_api import migrations
from chat_api.database.connections import connect, open_engine
from shared.ids import new_id
from support.servers import PostgresServer


@dataclass(frozen=True, slots=True)
class Database:
    """An own database at the current schema."""

    url: str
    engine: AsyncEngine
    connection: asyncpg.Connection

    async def user(self) -> str:
        """Makes a user; its id."""
        user = new_id()
        await self.connection.execute(
            "INSERT INTO users (id, username, display_name) VALUES ($1, $1, 'Some One')", user
        )
        return user

    async def chat(self, *users: str, assistant: str = "off") -> str:
        """Makes a chat that the first user owns; its id."""
        chat = new_id()
        await self.connection.execute(
            "INSERT INTO chats (id, title, owner_id, assistant, created_at, updated_at) "
            "VALUES ($1, 'A chat', $2, $3, now(), now())",
            chat,
            users[0],
            assistant,
        )
        for user in users:
            await self.connection.execute(
                "INSERT INTO members (chat_id, user_id, role, joined_at) VALUES ($1, $2, $3, now())",
                chat,
                user,
                "owner" if user == users[0] else "member",
            )
        return chat

    async def events(self, subject: str) -> list[asyncpg.Record]:
        """The events about something, in the order in which they are published."""
        found: list[asyncpg.Record] = await self.connection.fetch(
            "SELECT * FROM events WHERE subject = $1 ORDER BY position", subject
        )
        return found


@asynccontextmanager
async def migrated(postgres: PostgresServer) -> AsyncIterator[Database]:
    url = await postgres.new_database()
    await migrations.upgrade(url)
    connection = await connect(url)
    async with open_engine(url) as engine:
        yield Database(url, engine, connection)
    await connection.close()
