"""Posts whose events need not be read again to be published.

Revision ID: 0003
Revises: 0002
"""

from pathlib import Path

from chat_api.migrations.scripts import run

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    run(Path(__file__).with_name("0003") / "posts.sql")
