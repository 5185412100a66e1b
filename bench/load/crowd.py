"""Runs load clients: a process with many sockets, which counts what they get."""

import asyncio
import time
from collections.abc import Sequence
from typing import Any, Final

from bench.load.process import LoadError, LoadProcess

_PING_SECONDS: Final = 25.0
_LULL_SECONDS: Final = 0.5
_MOST_WAVE_SECONDS: Final = 12.0
"""Pings come 25 s after each socket's opening, and so on; past this there is hardly a time without any."""


class Crowd(LoadProcess):
    """Many sockets in one process; it counts messages, or replies that are whole."""

    def __init__(self, *, prompt: bool = False, replies: bool = False) -> None:
        options = [name for name, wanted in (("prompt", prompt), ("replies", replies)) if wanted]
        super().__init__("sockets.py", *options)
        self._first_opened = 0.0
        self._last_opened = 0.0

    async def connect(
        self, port: int, sockets: Sequence[tuple[str, list[str]]], *, in_flight: int = 100
    ) -> float:
        """Opens sockets, each with a token, and joins its chats; returns the seconds it took."""
        said = await self.ask("connect", port=port, sockets=sockets, in_flight=in_flight, bound=300)
        self._first_opened = self._first_opened or said["began"]
        self._last_opened = said["began"] + said["seconds"]
        return float(said["seconds"])

    async def count(self) -> dict[str, Any]:
        """Returns `frames`, `pings`, `bytes` so far, `open` sockets."""
        return await self.ask("count")

    async def wait(self, frames: int, *, bound: float = 60.0) -> None:
        """Returns once that many frames have come since the start.

        Raises:
            LoadError: they do not come, or more have come.
        """
        said = await self.ask("wait", frames=frames, bound=bound)
        if said["frames"] != frames:
            raise LoadError(f"{said['frames']} messages came where {frames} were sent")

    async def ages(self) -> list[float]:
        """Returns the ages of messages got since last asked, in seconds; of prompt clients only."""
        return [age / 1e9 for age in (await self.ask("ages"))["ages"]]

    async def close(self) -> None:
        """Closes all sockets."""
        await self.ask("close")
        self._first_opened = 0.0

    @property
    def pings_come_in_waves(self) -> bool:
        """Returns whether there is a time without pings."""
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
