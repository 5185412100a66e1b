"""Page cursors: opaque to callers, a place in an order to us."""

from base64 import urlsafe_b64decode, urlsafe_b64encode
from dataclasses import dataclass
from datetime import datetime
from typing import Self

from chat_api.http.problems import ValidationFailed
from shared.ids import canonical_uuid


@dataclass(frozen=True, slots=True)
class Cursor:
    """The last row of a page: its time and id."""

    time: datetime
    id: str

    def text(self) -> str:
        """Returns the text that callers get as `nextCursor`."""
        return urlsafe_b64encode(f"{self.time.isoformat()} {self.id}".encode()).decode().rstrip("=")

    @classmethod
    def parse(cls, text: str) -> Self:
        """Reads a cursor that a caller gives back.

        Raises:
            ValidationFailed: it is not one of ours.
        """
        try:
            padded = text + "=" * (-len(text) % 4)
            time, _, chat_id = urlsafe_b64decode(padded.encode("ascii")).decode("ascii").partition(" ")
            parsed = datetime.fromisoformat(time)
            if parsed.tzinfo is None or canonical_uuid(chat_id) is None:
                raise ValueError
        except ValueError:
            raise ValidationFailed(
                errors=[{"field": "cursor", "message": "Use a nextCursor of an earlier page, unchanged."}]
            ) from None
        return cls(parsed, chat_id)
