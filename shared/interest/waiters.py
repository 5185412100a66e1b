"""Callers that wait until rooms are registered."""

import asyncio


class Waiters:
    """Lets callers wait for rooms, each no longer than it likes."""

    def __init__(self) -> None:
        self._waiting: dict[str, list[asyncio.Future[bool]]] = {}

    async def wait(self, room: str, *, seconds: float) -> bool:
        """Returns True once `room` is registered, or False after so many seconds."""
        loop = asyncio.get_running_loop()
        registered: asyncio.Future[bool] = loop.create_future()
        self._waiting.setdefault(room, []).append(registered)
        timer = loop.call_later(seconds, _answer, registered, False)
        try:
            return await registered
        finally:
            timer.cancel()
            if registered in (waiting := self._waiting.get(room, [])):
                waiting.remove(registered)

    def release(self, room: str) -> None:
        """Lets those who wait for `room` go on: it is registered."""
        for one in self._waiting.pop(room, ()):
            _answer(one, True)


def _answer(waiting: "asyncio.Future[bool]", registered: bool) -> None:  # noqa: FBT001  call_later passes it so
    if not waiting.done():
        waiting.set_result(registered)
