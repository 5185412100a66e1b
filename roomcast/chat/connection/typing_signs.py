"""Sends signs of typing: soon, not with every key, and not for ever."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

REPEAT_SECONDS: Final = 3.0
"""How often it is said again while one goes on typing; also the pause after which one is not typing."""


class TypingSigns:
    """The signs of one person's typing, sent by `send(is_typing)`; `run` has to run for that."""

    def __init__(
        self, send: Callable[[bool], Awaitable[None]], *, repeat_seconds: float = REPEAT_SECONDS
    ) -> None:
        self._send = send
        self._repeat = repeat_seconds
        self._changed = asyncio.Event()
        self._emptied = asyncio.Event()

    def typed(self, line: str) -> None:
        """Notes the unfinished line; commands to the client are nobody's business."""
        if line and not line.startswith(":"):
            self._emptied.clear()
            self._changed.set()
        else:
            self._emptied.set()

    async def run(self) -> None:
        """Sends signs, until cancelled."""
        while True:
            await self._changed.wait()
            while self._changed.is_set() and not self._emptied.is_set():
                self._changed.clear()
                await self._send(True)
                try:
                    async with asyncio.timeout(self._repeat):
                        await self._emptied.wait()
                except TimeoutError:
                    pass
            self._changed.clear()
            await self._send(False)
