"""Identifiers and times as the contract writes them."""

from datetime import UTC, datetime
from typing import Annotated
from uuid import UUID

import uuid_utils
from pydantic import AfterValidator

UUID_TEXT_LENGTH = 36


def new_id() -> str:
    """A new UUIDv7 (RFC 9562) as lower-case text: ids made later sort later."""
    return str(uuid_utils.uuid7())


def as_uuid(text: str) -> UUID | None:
    """The UUID that `text` writes in its 36-character form, or None."""
    if len(text) != UUID_TEXT_LENGTH:
        return None
    try:
        parsed = UUID(text)
    except ValueError:
        return None
    return parsed if str(parsed) == text.lower() else None


def now() -> datetime:
    """The current time, in UTC."""
    return datetime.now(UTC)


def rfc3339(time: datetime) -> str:
    """RFC 3339 in UTC with milliseconds: `2026-11-21T09:30:00.123Z`."""
    return time.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.") + f"{time.microsecond // 1000:03d}Z"


def _canonical_uuid(text: str) -> str:
    parsed = as_uuid(text)
    if parsed is None:
        raise ValueError("must be a UUID")
    return str(parsed)


Id = Annotated[str, AfterValidator(_canonical_uuid)]
"""A UUID in text form, any case on the way in, lower case inside."""
