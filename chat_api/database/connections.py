"""Connections to PostgreSQL: SQLAlchemy's engine for the use cases, asyncpg's own for the hot paths."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

import asyncpg
from sqlalchemy.engine import AdaptedConnection, make_url
from sqlalchemy.event import listens_for
from sqlalchemy.exc import DisconnectionError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

STATEMENT_SECONDS: Final = 4.0
"""A statement that takes longer is given up, so that a caller hears within five seconds."""
SILENCE_SECONDS: Final = 3.0
"""PostgreSQL ends a transaction that has not heard of its caller for so long: a process that is stopped, or
that the network has cut off, would otherwise keep its chats locked until TCP gives up, which takes hours."""
DATABASE_ERRORS: Final = (
    OSError,
    TimeoutError,
    asyncpg.PostgresError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
)
"""What a statement of asyncpg's own may raise; a connection whose server dies while it is used is found in
the middle of another operation, an InternalClientError."""


def driver_url(database_url: str) -> str:
    """Returns the URL as SQLAlchemy takes it: `postgresql+asyncpg://…`."""
    url = make_url(database_url).set(drivername="postgresql+asyncpg")
    return url.render_as_string(hide_password=False)


@asynccontextmanager
async def open_engine(database_url: str) -> AsyncIterator[AsyncEngine]:
    """Opens the engine that the use cases share; connections are made when they are needed."""
    engine = create_async_engine(
        driver_url(database_url),
        pool_size=8,
        max_overflow=8,
        pool_timeout=STATEMENT_SECONDS,
        connect_args={
            "timeout": STATEMENT_SECONDS,
            "command_timeout": STATEMENT_SECONDS,
            "server_settings": {"idle_in_transaction_session_timeout": str(int(SILENCE_SECONDS * 1000))},
        },
    )
    listens_for(engine.sync_engine, "checkout")(_refuse_closed)
    try:
        yield engine
    finally:
        await engine.dispose()


def _refuse_closed(connection: AdaptedConnection, *_: object) -> None:
    """Has the pool take another connection for one that PostgreSQL closed while it was waiting there."""
    if connection.driver_connection.is_closed():
        raise DisconnectionError


async def connect(database_url: str, *, seconds: float = STATEMENT_SECONDS) -> asyncpg.Connection:
    """Opens a connection of one's own, whose statements may each take `seconds`.

    Raises:
        OSError, TimeoutError, asyncpg.PostgresError: the database does not answer or refuses.
    """
    return await asyncpg.connect(
        _asyncpg_url(database_url), timeout=STATEMENT_SECONDS, command_timeout=seconds
    )


def _asyncpg_url(database_url: str) -> str:
    return make_url(database_url).set(drivername="postgresql").render_as_string(hide_password=False)
