"""The chat as an operator's own agent gets it: the `deps` of its runs.

Operators' agents import it from here (docs/assistant.md): it stays in this place.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from shared.events import HistoryMessage, ReplyRequested


@dataclass(frozen=True, slots=True)
class Conversation:
    """The chat around a message to answer: the `deps` of an agent.

    Attributes:
        reply_id: of the reply that is being written. It stays the same over every attempt at it, so that a
            tool can recognize a repeat.
        title: the chat's title, as its members wrote it.
        context: the chat's `context`, a JSON object; empty where it has none.
        members: display names by user id.
        question: the message to answer.
        history: the messages before it, oldest first, at most 19.
    """

    chat_id: str
    reply_id: str
    title: str
    context: Mapping[str, Any]
    members: Mapping[str, str]
    question: HistoryMessage
    history: tuple[HistoryMessage, ...]

    @classmethod
    def of(cls, request: ReplyRequested) -> Self:
        """Returns the chat of a request; the message to answer is the last where the request names none."""
        at = next(
            (at for at, past in enumerate(request.history) if past.id == request.reply_to),
            len(request.history) - 1,
        )
        return cls(
            chat_id=request.chat_id,
            reply_id=request.reply_id,
            title=request.title,
            context=request.context or {},
            members=request.members,
            question=request.history[at],
            history=request.history[:at],
        )
