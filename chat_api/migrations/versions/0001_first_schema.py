"""The first schema: accounts, chats, messages, replies, and the events that are the outbox.

Revision ID: 0001
Revises:
"""

from pathlib import Path

from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

_SQL = Path(__file__).with_name("0001")


def upgrade() -> None:
    for name in ("tables.sql", "shapes.sql", "partitions.sql", "messages.sql"):
        _run((_SQL / name).read_text(encoding="utf-8"))


def _run(script: str) -> None:
    # One statement at a time, as the driver prepares each; a line `-- ;;` ends a statement.
    for statement in script.split("-- ;;"):
        if statement.strip():
            op.get_bind().exec_driver_sql(statement)
