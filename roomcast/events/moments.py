"""Parses moments as one types them."""

import re
from datetime import UTC, datetime, timedelta
from typing import Final

from shared.ids import now

HELP: Final = "2026-11-21T09:30:00Z, 2026-11-21, or 30s, 15m, 2h, 3d ago"
_AGO: Final = re.compile(r"(\d+)\s*([smhd])")
_UNITS: Final = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}


def moment(text: str) -> datetime:
    """Returns the moment that `text` means: ISO 8601 (UTC unless it says otherwise), or how long ago.

    Raises:
        ValueError: it means none.
    """
    if ago := _AGO.fullmatch(text.strip()):
        try:
            return now() - timedelta(**{_UNITS[ago[2]]: int(ago[1])})
        except OverflowError:
            raise ValueError("that is too long ago") from None
    parsed = datetime.fromisoformat(text.strip())
    return parsed if parsed.tzinfo is not None else parsed.replace(tzinfo=UTC)
