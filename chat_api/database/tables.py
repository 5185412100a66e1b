"""The tables as SQLAlchemy Core sees them; `migrations/` is what makes them.

`messages` and `events` are partitioned by quarters of their `time` (see `partitions.py`). No foreign keys
lead out of `messages`: whoever inserts there holds the lock on the chat's row.
"""

from sqlalchemy import (
    ARRAY,
    BigInteger,
    Boolean,
    Column,
    DateTime,
    ForeignKey,
    LargeBinary,
    MetaData,
    Table,
    Text,
    Uuid,
)
from sqlalchemy.dialects.postgresql import JSON

metadata = MetaData()


def _id() -> Uuid[str]:
    return Uuid(as_uuid=False)


def _time() -> DateTime:
    return DateTime(timezone=True)


users = Table(
    "users",
    metadata,
    Column("id", Text, primary_key=True),
    Column("username", Text, unique=True),
    Column("display_name", Text, nullable=False),
    Column("password_hash", Text),
    Column("created_at", _time(), nullable=False),
)

sessions = Table(
    "sessions",
    metadata,
    Column("id", Text, primary_key=True),
    Column("user_id", Text, nullable=False),
    Column("created_at", _time(), nullable=False),
    Column("expires_at", _time(), nullable=False),
    Column("ended_at", _time()),
)

refresh_tokens = Table(
    "refresh_tokens",
    metadata,
    Column("hash", LargeBinary, primary_key=True),
    Column("session_id", Text, ForeignKey("sessions.id", ondelete="CASCADE"), nullable=False),
    Column("created_at", _time(), nullable=False),
    Column("expires_at", _time(), nullable=False),
    Column("spent_at", _time()),
)

chats = Table(
    "chats",
    metadata,
    Column("id", _id(), primary_key=True),
    Column("title", Text, nullable=False),
    Column("owner_id", Text, ForeignKey("users.id"), nullable=False),
    Column("assistant", Text, nullable=False),
    Column("context", JSON(none_as_null=True)),
    Column("last_seq", BigInteger, nullable=False),
    Column("created_at", _time(), nullable=False),
    Column("updated_at", _time(), nullable=False),
)

members = Table(
    "members",
    metadata,
    Column("chat_id", _id(), ForeignKey("chats.id", ondelete="CASCADE"), primary_key=True),
    Column("user_id", Text, ForeignKey("users.id"), primary_key=True),
    Column("role", Text, nullable=False),
    Column("joined_at", _time(), nullable=False),
    Column("last_read_seq", BigInteger, nullable=False),
    Column("own_above_read", BigInteger, nullable=False),
)

messages = Table(
    "messages",
    metadata,
    Column("id", _id(), primary_key=True),
    Column("chat_id", _id(), nullable=False),
    Column("seq", BigInteger, nullable=False),
    Column("role", Text, nullable=False),
    Column("user_id", Text),
    Column("content", Text, nullable=False),
    Column("time", _time(), primary_key=True),
    Column("reply_to", _id()),
    Column("metadata", JSON(none_as_null=True)),
    Column("edited_at", _time()),
    Column("deleted_at", _time()),
)

replies = Table(
    "replies",
    metadata,
    Column("id", _id(), primary_key=True),
    Column("chat_id", _id(), ForeignKey("chats.id", ondelete="CASCADE"), nullable=False),
    Column("reply_to", _id(), nullable=False),
    Column("reply_to_seq", BigInteger, nullable=False),
    Column("status", Text, nullable=False),
    Column("request_id", Text, nullable=False),
    Column("traceparent", Text, nullable=False),
    Column("created_at", _time(), nullable=False),
    Column("ended_at", _time()),
    Column("cancel_requested_at", _time()),
    Column("regenerates", _id()),
    Column("turn", BigInteger),
)

idempotency_keys = Table(
    "idempotency_keys",
    metadata,
    Column("user_id", Text, primary_key=True),
    Column("key", Text, primary_key=True),
    Column("fingerprint", LargeBinary, nullable=False),
    Column("message_id", _id(), nullable=False),
    Column("created_at", _time(), nullable=False),
)

events = Table(
    "events",
    metadata,
    Column("position", BigInteger, nullable=False, server_default="nextval('events_position')"),
    Column("id", Text, primary_key=True),
    Column("time", _time(), primary_key=True),
    Column("type", Text, nullable=False),
    Column("source", Text, nullable=False),
    Column("subject", Text, nullable=False),
    Column("name", Text, nullable=False),
    Column("rooms", ARRAY(Text), nullable=False),
    Column("users", ARRAY(Text), nullable=False),
    Column("seq", BigInteger),
    Column("everywhere", Boolean, nullable=False),
    Column("request_id", Text, nullable=False),
    Column("traceparent", Text, nullable=False),
    Column("body", Text, nullable=False),
    Column("published_at", _time()),
)

handled_events = Table(
    "handled_events",
    metadata,
    Column("id", Text, primary_key=True),
    Column("handled_at", _time(), nullable=False),
)
