"""A post that comes alone is stored by statements of its own.

Revision ID: 0005
Revises: 0004
"""

from pathlib import Path

from chat_api.migrations.scripts import run

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    run(Path(__file__).with_name("0005") / "lone_posts.sql")
