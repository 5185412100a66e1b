"""Connections to PostgreSQL leave nothing behind when whoever made them is cut off."""

import asyncio

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from support.database import Database
from support.proxy import Link
from support.servers import PostgresServer

from chat_api.chats.membership import lock_chat
from chat_api.database.connections import SILENCE_SECONDS, open_engine
from chat_api.http.error_middleware import is_transient


async def test_a_caller_that_is_cut_off_keeps_no_chat_locked(
    database: Database, postgres: PostgresServer
) -> None:
    """Nothing ends the connection of a frozen process, or behind a network that drops everything."""
    user = await database.user()
    chat = await database.chat(user)
    async with Link(postgres.port) as link:
        through = database.url.replace(f":{postgres.port}/", f":{link.port}/")
        async with open_engine(through) as engine, engine.connect() as cut_off:
            await lock_chat(cut_off, chat, user)
            link.freeze()
            async with asyncio.timeout(SILENCE_SECONDS + 1), database.engine.begin() as other:
                await other.execute(text("SELECT 1 FROM chats WHERE id = :chat FOR UPDATE"), {"chat": chat})
            link.heal()
            with pytest.raises(DBAPIError) as told:
                await cut_off.execute(text("SELECT 1"))
            assert is_transient(told.value)  # 503, not 500
