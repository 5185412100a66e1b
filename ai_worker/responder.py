"""What writes a reply: the interface between the worker and whatever thinks."""

from collections.abc import AsyncGenerator
from dataclasses import dataclass
from typing import Protocol

from shared.events import ReplyRequested


@dataclass(frozen=True, slots=True)
class TextDelta:
    """The next piece of the reply's text, of any length."""

    text: str


@dataclass(frozen=True, slots=True)
class ToolCalling:
    """A tool is about to be called."""

    tool: str


@dataclass(frozen=True, slots=True)
class ToolCompleted:
    """The tool has answered."""

    tool: str


Part = TextDelta | ToolCalling | ToolCompleted


class ResponderError(Exception):
    """No reply can be written, and another attempt would not change that.

    Attributes:
        code: why, a stable snake_case word that clients get.
    """

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code


class Responder(Protocol):
    """Writes replies; called for many requests at once."""

    def respond(self, request: ReplyRequested) -> AsyncGenerator[Part, None]:
        """The reply to the last message of `request.history`, part by part.

        Raises:
            ResponderError: while being iterated: there will be no reply. Any other exception means that
                another attempt may succeed.
        """
