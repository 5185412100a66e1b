"""Errors that keep a program from starting, with its exit status."""

from collections.abc import Iterable
from typing import ClassVar


class StartError(Exception):
    """The program cannot start until a person changes something; the text says what."""

    exit_status: ClassVar[int] = 1


class SettingsError(StartError):
    """The program cannot start with these settings; a line for each variable that is wrong or missing."""

    exit_status: ClassVar[int] = 2

    def __init__(self, lines: Iterable[str]) -> None:
        self.lines = tuple(lines)
        super().__init__("\n".join(self.lines))
