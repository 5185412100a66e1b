"""Usernames: 3..32 of `a-z 0-9 _ . -`; upper case is folded."""

import re
from typing import Final

SHORTEST: Final = 3
LONGEST: Final = 32
PATTERN: Final = r"^[A-Za-z0-9_.-]+$"

_FITS: Final = re.compile(rf"[A-Za-z0-9_.-]{{{SHORTEST},{LONGEST}}}")


def canonical_username(typed: str) -> str | None:
    """Returns the username as it is stored and compared, or None when `typed` is not one."""
    return typed.lower() if _FITS.fullmatch(typed) else None
