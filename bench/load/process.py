"""Runs a load process, which gets a JSON command a line and answers each with a line."""

import asyncio
import json
import sys
from asyncio.subprocess import PIPE, Process
from pathlib import Path
from typing import Any, Final, Self

from bench.meter import Meter

_FOLDER: Final = Path(__file__).parent
_LINE_LIMIT: Final = 256 * 1024 * 1024


class LoadError(Exception):
    """The load was not what it should be; the text says what was seen."""


class LoadProcess:
    """A load process; `async with` starts and ends it. It ends with this process, too: its stdin does."""

    def __init__(self, program: str, *options: str) -> None:
        self._program = str(_FOLDER / program)
        self._options = options
        self._process: Process | None = None

    async def __aenter__(self) -> Self:
        self._process = await asyncio.create_subprocess_exec(
            sys.executable, self._program, *self._options, stdin=PIPE, stdout=PIPE, limit=_LINE_LIMIT
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._process is not None
        assert self._process.stdin is not None
        self._process.stdin.close()
        await self._process.wait()

    def cpu(self) -> float:
        """Returns the seconds of CPU that it has used."""
        assert self._process is not None
        return Meter(self._process.pid).cpu()

    async def ask(self, do: str, *, bound: float = 30.0, **arguments: Any) -> dict[str, Any]:
        """Sends a command; returns the answer.

        Raises:
            LoadError: none within `bound` seconds, or one that tells of a problem.
        """
        assert self._process is not None
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps({"do": do, **arguments}).encode() + b"\n")
        try:
            async with asyncio.timeout(bound):
                line = await self._process.stdout.readline()
        except TimeoutError:
            raise LoadError(f"{self._program} did not finish {do} within {bound} s") from None
        if not line:
            raise LoadError(f"{self._program} ended at {do}")
        said: dict[str, Any] = json.loads(line)
        if said["problem"]:
            raise LoadError(said["problem"])
        return said
