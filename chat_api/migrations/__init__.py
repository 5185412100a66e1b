"""The schema's history, run by alembic; `HEAD` is the version that this program works with."""

from pathlib import Path
from typing import Final

import asyncpg
from sqlalchemy import Connection
from sqlalchemy.ext.asyncio import create_async_engine

from chat_api.database.connections import connect, driver_url

HEAD: Final = "0005"
_FOLDER: Final = Path(__file__).parent
_LOCK: Final = 7_262_171_001
"""Advisory lock key: two programs that migrate at once take turns."""


class SchemaOutdatedError(Exception):
    """The database's schema is older than this program: run `roomcast migrate`, then start it again."""


async def is_current(database_url: str) -> bool:
    """Whether the schema is `HEAD` or newer (as in a rolling upgrade); versions sort as text."""
    connection = await connect(database_url)
    try:
        version = await connection.fetchval("SELECT version_num FROM alembic_version")
    except asyncpg.UndefinedTableError:
        return False
    finally:
        await connection.close()
    return version is not None and version >= HEAD


async def upgrade(database_url: str) -> None:
    """Brings the database to `HEAD`, from whichever version it is at; an empty one too."""
    engine = create_async_engine(driver_url(database_url))
    try:
        async with engine.begin() as connection:
            await connection.run_sync(_upgrade)
    finally:
        await engine.dispose()


def _upgrade(connection: Connection, to: str = "head") -> None:
    from alembic import command  # noqa: PLC0415 - slow to import, and not needed where the schema is current
    from alembic.config import Config  # noqa: PLC0415 - as above

    connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_LOCK})")
    config = Config()
    config.set_main_option("script_location", str(_FOLDER))
    config.attributes["connection"] = connection
    command.upgrade(config, to)
