"""Makes messages as the API does, each with the moment at which it was sent."""

import time
from collections.abc import Sequence
from typing import Any, Final

import orjson

from bench.load.frames import stamped
from shared.events import MESSAGE_CREATED, Event, chat_room
from shared.ids import new_id, now, rfc3339

CONTENT_CHARACTERS: Final = 150

_USER: Final = new_id()
_FILLING: Final = "The quick brown fox jumps over the lazy dog. " * 4


def content(sent: int | None = None) -> str:
    """Returns a message's text: when it was sent, in nanoseconds of the monotonic clock (now), and words."""
    return stamped(time.monotonic_ns() if sent is None else sent, _FILLING)[:CONTENT_CHARACTERS]


def message_created(chat_id: str, seq: int, sent: int | None = None) -> Event:
    """Returns a posted message of a chat; no member's own room gets an activity for it."""
    moment = rfc3339(now())
    body: dict[str, Any] = {
        "id": new_id(),
        "chatId": chat_id,
        "seq": seq,
        "role": "USER",
        "userId": _USER,
        "content": content(sent),
        "time": moment,
        "replyTo": None,
        "metadata": None,
        "editedAt": None,
        "deletedAt": None,
    }
    return Event(
        type=MESSAGE_CREATED,
        name="new-msg",
        body=orjson.dumps(body),
        source="/roomcast/api",
        subject=chat_id,
        rooms=(chat_room(chat_id),),
        seq=seq,
        id=body["id"],
        time=moment,
    )


class Talk:
    """The talk of many chats: makes the next message of each."""

    def __init__(self) -> None:
        self._seq: dict[str, int] = {}

    def next(self, chat_id: str, sent: int | None = None) -> Event:
        """Returns the chat's next message."""
        seq = self._seq[chat_id] = self._seq.get(chat_id, 0) + 1
        return message_created(chat_id, seq, sent)

    def burst(self, chats: Sequence[str]) -> list[Event]:
        """Returns a message of each."""
        return [self.next(chat_id) for chat_id in chats]
