"""The layout of drafts in Redis.

For each reply, kept for an hour:

- `roomcast:reply:<id>`, a hash: the number of the latest attempt; which chunk is the final one; what is
  known of each attempt; whether the reply has ended; and, once it was cancelled, which attempt counts, and
  how many of its chunks;
- `roomcast:reply:<id>:<attempt>`, a list of a mark and the chunks' texts. A chunk costs its own length, one
  push, whose answer shows whether Redis lost something: then all of it is written again. An attempt that
  goes on without knowing that another has begun writes into a list that nobody reads any more.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from shared.store.keys import text

EXPIRY_SECONDS: Final = 3600

ATTEMPT: Final = "attempt"
CANCELLED: Final = "cancelled"
ENDED: Final = "ended"
FINAL: Final = "final"
STANDING: Final = (ATTEMPT, CANCELLED, ENDED)
"""The fields of the hash that `standing_in` reads."""
MARK: Final = "\0"
"""What a list begins with; no text holds it. A list without it has lost its beginning."""


@dataclass(frozen=True, slots=True)
class Standing:
    """The state of a reply.

    Attributes:
        attempt: the latest that has begun, or the latest before it was cancelled; 0 when none has.
        kept: the number of its chunks that count, once somebody asked that it end where it is; else None.
        ended: it is stored; nothing more is to be said.
        known: Redis has said so; else it is what the caller took it for.
    """

    attempt: int
    kept: int | None = None
    ended: bool = False
    known: bool = True

    @property
    def cancelled(self) -> bool:
        """True once somebody asked that it end where it is."""
        return self.kept is not None


def state_key(reply_id: str) -> str:
    """Returns the key of a reply's hash."""
    return f"roomcast:reply:{reply_id}"


def texts_key(reply_id: str, attempt: int) -> str:
    """Returns the key of the list of an attempt's texts."""
    return f"roomcast:reply:{reply_id}:{attempt}"


def facts_field(attempt: int) -> str:
    """Returns the field of the hash that holds an attempt's metadata, as JSON."""
    return f"facts:{attempt}"


def chunk_position(attempt: int, index: int) -> str:
    """Returns the value of `FINAL`, for a chunk, and of `CANCELLED`, for the first that does not count."""
    return f"{attempt}:{index}"


def standing_in(fields: Sequence[bytes | str | None]) -> Standing:
    """Returns the standing that the values of the fields `STANDING` tell."""
    attempt, cancelled, ended = fields
    if cancelled is None:
        return Standing(int(attempt or 0), ended=ended is not None)
    counting, _, kept = text(cancelled).partition(":")
    return Standing(int(counting), int(kept), ended is not None)
