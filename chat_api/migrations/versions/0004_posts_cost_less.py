"""Posts whose statement has fewer parts.

Revision ID: 0004
Revises: 0003
"""

from pathlib import Path

from chat_api.migrations.scripts import run

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    run(Path(__file__).with_name("0004") / "posts.sql")
