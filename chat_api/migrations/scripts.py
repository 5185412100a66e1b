"""SQL scripts, as the versions run them."""

from pathlib import Path

from alembic import op
from sqlalchemy.engine import AdaptedConnection


def run(folder: Path) -> None:
    """Runs the scripts of a folder in the order of their names, within the transaction of the migration.

    The driver gets each script as a whole: SQLAlchemy would prepare it, which takes a single statement.
    """
    connection = op.get_bind().connection.dbapi_connection
    if not isinstance(connection, AdaptedConnection):
        raise TypeError(f"{connection!r} is no connection of asyncpg's")
    for path in sorted(folder.glob("*.sql")):
        script = path.read_text(encoding="utf-8")
        connection.run_async(lambda driver, script=script: driver.execute(script))
