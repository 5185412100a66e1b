"""The interface of a screen: shows and asks, on a terminal or through pipes."""

import re
from collections.abc import AsyncGenerator, Callable
from typing import Final, Literal, Protocol

Kind = Literal["own", "other", "assistant", "system"]

_UNSAFE: Final = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


class Screen(Protocol):
    """A place where a person, or a script, reads and writes."""

    @property
    def interactive(self) -> bool:
        """Returns whether a person sits at it, who can be asked to choose."""

    async def ask(self, question: str, *, secret: bool = False) -> str:
        """Asks; returns the answer, stripped unless secret.

        Raises:
            EOFError: nothing more will be answered.
        """

    def lines(self) -> AsyncGenerator[str, None]:
        """Yields the typed lines, to the end."""

    def on_typing(self, typed: Callable[[str], None]) -> None:
        """Calls `typed` with the unfinished line, whenever it changes."""

    def on_interrupt(self, instead: Callable[[], str | None]) -> None:
        """Asks `instead`, at Ctrl-C, for the line to take in its place; None has the lines end."""

    def message(self, author: str, text: str, *, kind: Kind, time: str) -> None:
        """Shows a message; `time` is RFC 3339."""

    def notice(self, text: str) -> None:
        """Shows something that nobody wrote."""

    def live(self, text: str) -> None:
        """Shows the reply that is being written, in place of what it showed before; "" for none."""

    def status(self, text: str) -> None:
        """Shows how things are, in place of what it showed before."""


def visible(text: str) -> str:
    """Returns the text without what would steer a terminal: control characters and changes of direction."""
    return _UNSAFE.sub("\ufffd", text.replace("\r\n", "\n"))
