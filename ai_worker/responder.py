"""What writes a reply: the interface between the worker and whatever thinks."""

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
    """A tool is about to be called.

    Attributes:
        description: what it is about to do, short and fit for everybody in the chat; "" for nothing.
    """

    tool: str
    description: str = ""


@dataclass(frozen=True, slots=True)
class ToolCompleted:
    """The tool has answered.

    Attributes:
        description: what came of it, short and fit for everybody in the chat; "" for nothing.
    """

    tool: str
    description: str = ""


@dataclass(frozen=True, slots=True)
class Restarted:
    """What was said so far counts no more: the reply begins anew, as the next attempt, for all to see."""


@dataclass(frozen=True, slots=True)
class Facts:
    """What is worth knowing of the reply; the last part. It becomes the message's `metadata`, at most 16 KiB.

    Attributes:
        metadata: a JSON object.
    """

    metadata: dict[str, Any]


Part = TextDelta | ToolCalling | ToolCompleted | Restarted | Facts


class ResponderError(Exception):
    """No reply can be written, and another attempt would not change that.

    Attributes:
        code: why, a stable snake_case word that clients get.
        metadata: what is worth knowing of the failure; a JSON object, kept with the SYSTEM message.
    """

    def __init__(self, code: str, metadata: dict[str, Any] | None = None) -> None:
        super().__init__(code)
        self.code = code
        self.metadata = metadata


class Responder(Protocol):
    """Writes replies; called for many requests at once."""

    def respond(self, request: ReplyRequested) -> AsyncGenerator[Part, None]:
        """The reply to the last message of `request.history`, part by part.

        Raises:
            ResponderError: while being iterated: there will be no reply. Any other exception means that
                another attempt may succeed.
        """
