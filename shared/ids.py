"""Identifiers and times as the contract writes them."""

import re
from datetime import UTC, datetime
from typing import Annotated, Final

import uuid_utils
from pydantic import AfterValidator

_UUID: Final = re.compile(r"[0-9a-fA-F]{8}-(?:[0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}")


def new_id() -> str:
    """Returns a new UUIDv7 (RFC 9562) as lower-case text: ids made later sort later."""
    return str(uuid_utils.uuid7())


def canonical_uuid(text: str) -> str | None:
    """Returns the UUID that `text` writes in its 36-character form, in lower case; None if it writes none."""
    return text.lower() if _UUID.fullmatch(text) else None


def now() -> datetime:
    """Returns the current time, in UTC."""
    return datetime.now(UTC)


def rfc3339(time: datetime) -> str:
    """Formats by RFC 3339, in UTC with milliseconds: `2026-11-21T09:30:00.123Z`."""
    in_utc = time if time.tzinfo is UTC else time.astimezone(UTC)
    return in_utc.isoformat(timespec="milliseconds")[: -len("+00:00")] + "Z"


def _fitting_uuid(text: str) -> str:
    found = canonical_uuid(text)
    if found is None:
        raise ValueError("must be a UUID")
    return found


Id = Annotated[str, AfterValidator(_fitting_uuid)]
"""A UUID in text form, any case on the way in, lower case inside."""
