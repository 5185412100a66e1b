"""The interface between the worker and what writes a reply: a responder and its parts."""

from collections.abc import AsyncGenerator
from dataclasses import dataclass
from typing import Any, Protocol

from shared.events import ReplyRequested


@dataclass(frozen=True, slots=True)
class TextDelta:
    """The next piece of the reply's text, of any length."""

    text: str


@dataclass(frozen=True, slots=True)
class ToolCalling:
    """A tool call that is about to begin.

    Attributes:
        description: what it is about to do, short and fit for everybody in the chat; "" for nothing.
    """

    tool: str
    description: str = ""


@dataclass(frozen=True, slots=True)
class ToolCompleted:
    """A tool call that has been answered.

    Attributes:
        description: what came of it, short and fit for everybody in the chat; "" for nothing.
    """

    tool: str
    description: str = ""


@dataclass(frozen=True, slots=True)
class Restarted:
    """A new beginning: what was said so far counts no more, and the next attempt starts, for all to see."""


@dataclass(frozen=True, slots=True)
class Facts:
    """The facts of a reply; the last part. They become the message's `metadata`, at most 16 KiB.

    Attributes:
        metadata: a JSON object.
    """

    metadata: dict[str, Any]


Part = TextDelta | ToolCalling | ToolCompleted | Restarted | Facts


class ResponderError(Exception):
    """A failure for good: no reply can be written, and another attempt would not change that.

    Attributes:
        code: why, a stable snake_case word that clients get.
        metadata: what is worth knowing of the failure; a JSON object, kept with the SYSTEM message.
    """

    def __init__(self, code: str, metadata: dict[str, Any] | None = None) -> None:
        super().__init__(code)
        self.code = code
        self.metadata = metadata


class Responder(Protocol):
    """A writer of replies; called for many requests at once."""

    def respond(self, request: ReplyRequested) -> AsyncGenerator[Part, None]:
        """Yields the reply to the last message of `request.history`, part by part.

        Raises:
            ResponderError: while being iterated: there will be no reply. Any other exception means that
                another attempt may succeed.
        """
