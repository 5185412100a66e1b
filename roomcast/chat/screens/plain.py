"""Reads and writes through pipes: lines in; messages on stdout, everything else on stderr."""

import asyncio
import sys
from collections.abc import AsyncGenerator, Callable
from threading import Thread
from typing import TextIO

from roomcast.chat.screens.screen import Kind, visible


class PlainScreen:
    """A screen of lines; shows a reply when it is whole."""

    interactive = False

    def __init__(
        self, source: TextIO | None = None, out: TextIO | None = None, err: TextIO | None = None
    ) -> None:
        self._source = source or sys.stdin
        self._out = out or sys.stdout
        self._err = err or sys.stderr
        self._typed: asyncio.Queue[str] = asyncio.Queue()
        self._loop = asyncio.get_running_loop()
        self._reader: Thread | None = None
        self._status = ""

    async def ask(self, question: str, *, secret: bool = False) -> str:
        """Returns the next line; raises EOFError when there is none."""
        self._read()
        self._print(self._err, question)
        line = await self._typed.get()
        if not line:
            self._typed.put_nowait("")
            raise EOFError
        return line.rstrip("\r\n") if secret else line.strip()

    async def lines(self) -> AsyncGenerator[str, None]:
        """Yields the lines that were not taken as answers."""
        self._read()
        while line := await self._typed.get():
            yield line.rstrip("\r\n")

    def on_typing(self, typed: Callable[[str], None]) -> None:
        """Does nothing: a pipe shows no unfinished line."""

    def on_interrupt(self, instead: Callable[[], str | None]) -> None:
        """Does nothing: Ctrl-C ends a script."""

    def message(self, author: str, text: str, *, kind: Kind, time: str) -> None:  # noqa: ARG002
        """Prints `author: text`; further lines of the text are indented by two."""
        self._print(self._out, f"{visible(author)}: {visible(text)}".replace("\n", "\n  "))

    def notice(self, text: str) -> None:
        """Prints it with a star."""
        self._print(self._err, f"* {visible(text)}")

    def live(self, text: str) -> None:
        """Does nothing: a pipe cannot take back what it printed."""

    def status(self, text: str) -> None:
        """Prints what is new and not empty."""
        if text and text != self._status:
            self.notice(text)
        self._status = text

    def _read(self) -> None:
        """Starts reading; a thread, as a file gives the event loop nothing to wait for."""
        if self._reader is None:
            self._reader = Thread(target=self._read_lines, name="stdin", daemon=True)
            self._reader.start()

    def _read_lines(self) -> None:
        line = "\n"
        while line:
            try:
                line = self._source.readline()
            except (OSError, ValueError):
                line = ""
            try:
                self._loop.call_soon_threadsafe(self._typed.put_nowait, line)
            except RuntimeError:  # the loop is closed: nobody reads any more
                return

    @staticmethod
    def _print(stream: TextIO, text: str) -> None:
        stream.write(text + "\n")
        stream.flush()
