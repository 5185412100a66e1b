"""SQL scripts of several statements, for migrations."""

from pathlib import Path

from alembic import op


def run(script: Path) -> None:
    """Runs a script; a line `-- ;;` ends a statement, as the driver prepares each by itself."""
    for statement in script.read_text(encoding="utf-8").split("-- ;;"):
        if statement.strip():
            op.get_bind().exec_driver_sql(statement)
