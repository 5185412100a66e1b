"""The first version: accounts, chats, messages, replies, and the events that are the outbox.

Revision ID: 0005
Revises:
"""

from pathlib import Path

from chat_api.migrations.scripts import run

revision = "0005"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    run(Path(__file__).with_name("0005"))
