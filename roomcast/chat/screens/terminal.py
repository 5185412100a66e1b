"""Reads and writes on a terminal: messages scroll by above a prompt that stays."""

from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Final

from prompt_toolkit import PromptSession, print_formatted_text
from prompt_toolkit.formatted_text import FormattedText
from prompt_toolkit.patch_stdout import patch_stdout
from prompt_toolkit.styles import Style

from roomcast.chat.screens.screen import Kind, visible

STYLE: Final = Style.from_dict(
    {
        "own": "ansigreen bold",
        "other": "ansiyellow bold",
        "assistant": "ansicyan bold",
        "system": "ansired bold",
        "time": "ansibrightblack",
        "notice": "ansibrightblack italic",
        "live": "ansicyan",
        "bottom-toolbar": "noreverse ansibrightblack",
    }
)
_RESERVED_ROWS: Final = 5
"""Rows that the reply being written leaves free."""


class TerminalScreen:
    """A screen with a line editor, and the reply being written right above it."""

    interactive = True

    def __init__(self) -> None:
        self._live = ""
        self._status = ""
        self._instead: Callable[[], str | None] = lambda: None
        self._session: PromptSession[str] = PromptSession(
            message=self._above, bottom_toolbar=self._below, style=STYLE, erase_when_done=True
        )

    @contextmanager
    def shown(self) -> Iterator[None]:
        """Has everything printed above the prompt while the block runs."""
        with patch_stdout():
            yield

    async def ask(self, question: str, *, secret: bool = False) -> str:
        """Returns the answer; raises EOFError on Ctrl-D, KeyboardInterrupt on Ctrl-C."""
        prompt: PromptSession[str] = PromptSession(style=STYLE)
        answer = await prompt.prompt_async(question + " ", is_password=secret)
        return answer if secret else answer.strip()

    async def lines(self) -> AsyncGenerator[str, None]:
        """Yields the lines typed at the prompt, until Ctrl-D, or a Ctrl-C that means nothing else."""
        while True:
            try:
                line = await self._session.prompt_async()
            except EOFError:
                return
            except KeyboardInterrupt:
                instead = self._instead()
                if instead is None:
                    return
                line = instead
            yield line

    def on_interrupt(self, instead: Callable[[], str | None]) -> None:
        """Sets the line that Ctrl-C stands for; see `Screen`."""
        self._instead = instead

    def on_typing(self, typed: Callable[[str], None]) -> None:
        """Calls back with the line that is being edited."""
        self._session.default_buffer.on_text_changed += lambda buffer: typed(buffer.text)

    def message(self, author: str, text: str, *, kind: Kind, time: str) -> None:
        """Prints it above the prompt, the author in colour."""
        lines = visible(text).replace("\n", "\n      ")
        self._print(
            ("class:time", f"{_clock(time)} "), (f"class:{kind}", visible(author)), ("", f"  {lines}\n")
        )

    def notice(self, text: str) -> None:
        """Prints it above the prompt, in grey."""
        self._print(("class:notice", f"{visible(text)}\n"))

    def live(self, text: str) -> None:
        """Shows it between the messages and the prompt."""
        self._live = visible(text)
        self._session.app.invalidate()

    def status(self, text: str) -> None:
        """Shows it under the prompt."""
        self._status = visible(text)
        self._session.app.invalidate()

    def _above(self) -> FormattedText:
        prompt = ("", "> ")
        if not self._live:
            return FormattedText([prompt])
        size = self._session.app.output.get_size()
        return FormattedText([("class:live", f"{tail(self._live, size.columns, size.rows)}\n"), prompt])

    def _below(self) -> FormattedText:
        return FormattedText([("class:bottom-toolbar", self._status)])

    @staticmethod
    def _print(*parts: tuple[str, str]) -> None:
        print_formatted_text(FormattedText(parts), style=STYLE, end="")


def tail(text: str, columns: int, rows: int) -> str:
    """Returns as much of the end of the text as fits, wrapped, between the messages and the prompt."""
    room = max(1, rows - _RESERVED_ROWS)
    lines = [
        line[start : start + columns]
        for line in text.split("\n")
        for start in range(0, max(1, len(line)), max(1, columns))
    ]
    return "\n".join(lines if len(lines) <= room else ["…", *lines[-room + 1 :]] if room > 1 else lines[-1:])


def _clock(time: str) -> str:
    try:
        return datetime.fromisoformat(time).astimezone().strftime("%H:%M")
    except ValueError:
        return "     "
