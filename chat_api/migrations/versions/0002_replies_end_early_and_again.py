"""Replies that are cancelled, and replies that are written again.

Revision ID: 0002
Revises: 0001
"""

from pathlib import Path

from chat_api.migrations.scripts import run

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    run(Path(__file__).with_name("0002") / "replies.sql")
