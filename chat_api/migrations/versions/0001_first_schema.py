"""The first schema: accounts, chats, messages, replies, and the events that are the outbox.

Revision ID: 0001
Revises:
"""

from pathlib import Path

from chat_api.migrations.scripts import run

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

_SQL = Path(__file__).with_name("0001")


def upgrade() -> None:
    for name in ("tables.sql", "shapes.sql", "partitions.sql", "messages.sql"):
        run(_SQL / name)
