"""Migrations: the schema of the database, and how a database gets there.

- `schema/` is the schema as it stands now, by subject: tables, the JSON that clients get, posts, partitions.
  One reads it there, and edits it there. Its files are run in the order of their names.
- `versions/` are the steps. The first makes all of it; each later one holds the difference.
- `upgrade` runs the versions that a database lacks, in one transaction: alembic enters by `env.py`, and a
  version has its SQL run by `scripts.py`. `HEAD` is the newest version, which this program works with.

A change is made twice: in `schema/`, and in a new version. A test makes one database by all versions and
another from `schema/`, and fails for any difference between the two.

What must stay true:

- A version is frozen, because a database that has run it does not run it again. So the first one has a copy
  of the files (`versions/0005/`): had it read `schema/`, a later edit there would reach new databases only.
  Another test keeps the SQL of each version as it was.
- The program of the version before works on the newer schema, as a rolling upgrade migrates first. So a new
  column has a default or may be null, and a function whose parameters, result or effect change gets a new
  name. What nobody uses any more is dropped a version later.
- Two programs that migrate at once take turns, by an advisory lock.
- Versions sort as text; a database that is newer than `HEAD` counts as current.

The first version is 0005: the four before it were never released, and a database that is at one of them is
refused. Nothing leads back to an older version. The API does not migrate: it refuses an older schema, and
`roomcast migrate` (or `roomcast up`) brings it up to date.
"""

from pathlib import Path
from typing import Final

import asyncpg
from sqlalchemy import Connection
from sqlalchemy.ext.asyncio import create_async_engine

from chat_api.database.connections import connect, driver_url
from shared.config.start_errors import StartError

HEAD: Final = "0005"
_FIRST: Final = "0005"
_UPGRADES_OLDER: Final = "7f96fbf"
"""The commit whose program still brings a database from 0001 to 0005."""
_FOLDER: Final = Path(__file__).parent
_LOCK: Final = 7_262_171_001
"""Advisory lock key: two programs that migrate at once take turns."""


class SchemaTooOldError(StartError):
    """The database is of a version from before the first one, from where no migration leads on."""

    def __init__(self, found: str) -> None:
        super().__init__(
            f"The database's schema is at version {found}, which is too old to be upgraded: bring it to "
            f"{_FIRST} with `roomcast migrate` of commit {_UPGRADES_OLDER}, or use an empty database."
        )


async def is_current(database_url: str) -> bool:
    """Returns whether the schema is `HEAD` or newer (as in a rolling upgrade)."""
    connection = await connect(database_url)
    try:
        version = await connection.fetchval("SELECT version_num FROM alembic_version")
    except asyncpg.UndefinedTableError:
        return False
    finally:
        await connection.close()
    return version is not None and version >= HEAD


async def upgrade(database_url: str) -> None:
    """Brings the database to `HEAD`, from whichever version it is at; an empty one too.

    Raises:
        SchemaTooOldError: its version is older than the first; nothing is changed.
    """
    engine = create_async_engine(driver_url(database_url))
    try:
        async with engine.begin() as connection:
            await connection.run_sync(_upgrade)
    finally:
        await engine.dispose()


def _upgrade(connection: Connection, to: str = "head") -> None:
    from alembic import command  # noqa: PLC0415 - slow to import, and not needed where the schema is current
    from alembic.config import Config  # noqa: PLC0415 - as above
    from alembic.migration import MigrationContext  # noqa: PLC0415 - as above

    connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_LOCK})")
    found = MigrationContext.configure(connection).get_current_revision()
    if found is not None and found < _FIRST:
        raise SchemaTooOldError(found)
    config = Config()
    config.set_main_option("script_location", str(_FOLDER))
    config.attributes["connection"] = connection
    command.upgrade(config, to)
