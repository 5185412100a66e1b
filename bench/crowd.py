"""Load clients as the run sees them: a process with many sockets, and what they have got."""

import asyncio
import json
import sys
import time
from asyncio.subprocess import PIPE, Process
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, Self

from bench.meter import Meter

_PROGRAM: Final = Path(__file__).parent / "clients.py"
_LINE_LIMIT: Final = 256 * 1024 * 1024
_PING_SECONDS: Final = 25.0
_LULL_SECONDS: Final = 0.5
_MOST_WAVE_SECONDS: Final = 12.0
"""Pings come 25 s after each socket's opening, and so on; past this there is hardly a time without any."""


class LoadError(Exception):
    """The clients did not get what they should; the text says what they saw."""


class Crowd:
    """A client process; `async with` starts and ends it."""

    def __init__(self, *, prompt: bool = False) -> None:
        self._prompt = prompt
        self._process: Process | None = None
        self._meter: Meter | None = None
        self._first_opened = 0.0
        self._last_opened = 0.0

    async def __aenter__(self) -> Self:
        options = ["prompt"] if self._prompt else []
        self._process = await asyncio.create_subprocess_exec(
            sys.executable, str(_PROGRAM), *options, stdin=PIPE, stdout=PIPE, limit=_LINE_LIMIT
        )
        self._meter = Meter(self._process.pid)
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._process is not None
        assert self._process.stdin is not None
        self._process.stdin.close()
        await self._process.wait()

    def cpu(self) -> float:
        """Seconds of CPU that the clients have used."""
        assert self._meter is not None
        return self._meter.cpu()

    async def connect(
        self, port: int, sockets: Sequence[tuple[str, list[str]]], *, in_flight: int = 100
    ) -> float:
        """Opens sockets, each with a token, and joins its chats; the seconds it took."""
        said = await self._ask("connect", port=port, sockets=sockets, in_flight=in_flight, bound=300)
        self._first_opened = self._first_opened or said["began"]
        self._last_opened = said["began"] + said["seconds"]
        return float(said["seconds"])

    async def count(self) -> dict[str, Any]:
        """`frames`, `pings`, `bytes` so far, `open` sockets."""
        return await self._ask("count")

    async def wait(self, frames: int, *, bound: float = 60.0) -> None:
        """Returns once that many frames have come since the start.

        Raises:
            LoadError: they do not come, or more have come.
        """
        said = await self._ask("wait", frames=frames, bound=bound)
        if said["frames"] != frames:
            raise LoadError(f"{said['frames']} messages came where {frames} were sent")

    async def ages(self) -> list[float]:
        """How old messages were when they came, in seconds, since last asked; prompt clients know."""
        return [age / 1e9 for age in (await self._ask("ages"))["ages"]]

    async def close(self) -> None:
        """Closes all sockets."""
        await self._ask("close")
        self._first_opened = 0.0

    @property
    def pings_come_in_waves(self) -> bool:
        """Whether there is a time without pings."""
        return self._last_opened - self._first_opened < _MOST_WAVE_SECONDS

    async def lull(self, seconds: float) -> None:
        """Waits until no pings are due for that long; returns at once where there never is such a time."""
        if not self.pings_come_in_waves:
            return
        wave = self._last_opened - self._first_opened + _LULL_SECONDS
        elapsed = time.monotonic() - self._first_opened
        phase = (elapsed + _LULL_SECONDS) % _PING_SECONDS - _LULL_SECONDS
        if elapsed < _PING_SECONDS - seconds:
            return
        if phase < wave:
            await asyncio.sleep(wave - phase)
        elif phase + seconds > _PING_SECONDS - _LULL_SECONDS:
            await asyncio.sleep(_PING_SECONDS - phase + wave)

    async def _ask(self, do: str, *, bound: float = 30.0, **arguments: Any) -> dict[str, Any]:
        assert self._process is not None
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps({"do": do, **arguments}).encode() + b"\n")
        try:
            async with asyncio.timeout(bound):
                line = await self._process.stdout.readline()
        except TimeoutError:
            raise LoadError(f"the clients did not finish {do} within {bound} s") from None
        if not line:
            raise LoadError(f"the clients ended at {do}")
        said: dict[str, Any] = json.loads(line)
        if said["lost"] or said["problem"]:
            raise LoadError(f"{said['lost']} sockets were lost: {said['problem']}")
        return said
