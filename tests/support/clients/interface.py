"""The interface of a Socket.IO client for tests, whichever library it is made of."""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

WAIT_SECONDS: Final = 10.0

Ack = dict[str, Any]


class RefusedError(Exception):
    """The handshake was refused: a `connect_error`.

    Attributes:
        data: its `data`; None when the server sent none.
    """

    def __init__(self, message: str, data: Any) -> None:
        super().__init__(f"{message}: {data}")
        self.data = data

    @property
    def code(self) -> Any:
        """`data.code`, or None."""
        return self.data.get("code") if isinstance(self.data, dict) else None


@dataclass(frozen=True, slots=True)
class Received:
    """One event from the server, with all its arguments."""

    event: str
    args: tuple[Any, ...]

    @property
    def body(self) -> Any:
        """The one argument that every event of the contract has."""
        assert len(self.args) == 1, self
        return self.args[0]


class SocketClient(ABC):
    """One socket. `received` holds every event so far, in the order of arrival."""

    def __init__(self) -> None:
        self.received: list[Received] = []
        self.disconnected: str | None = None
        self._news = asyncio.Event()

    @abstractmethod
    async def connect(
        self, url: str, *, auth: Any = None, headers: dict[str, str] | None = None, reconnection: bool = False
    ) -> None:
        """Connects to the namespace `/`.

        Raises:
            RefusedError: the server refused.
        """

    @abstractmethod
    async def emit(self, event: str, *args: Any) -> Ack:
        """Emits an event and waits for its acknowledgement: the one argument of it."""

    @abstractmethod
    async def close(self) -> None:
        """Disconnects; safe to repeat."""

    def bodies(self, *events: str) -> list[Any]:
        """The bodies of what was received under these names, in order."""
        return [received.body for received in self.received if received.event in events]

    def names(self, *events: str) -> list[str]:
        """The names of what was received, all or only `events`, in order."""
        return [received.event for received in self.received if not events or received.event in events]

    async def until(
        self, done: Callable[[], object], *, seconds: float = WAIT_SECONDS, what: str = "it"
    ) -> None:
        """Waits until `done`, looked at after each arrival, is true.

        Raises:
            TimeoutError: it was not within `seconds`; the message tells what has arrived.
        """
        try:
            async with asyncio.timeout(seconds):
                while not done():
                    self._news.clear()
                    await self._news.wait()
        except TimeoutError:
            arrived = [(one.event, str(one.args)[:100]) for one in self.received[-20:]]
            raise TimeoutError(f"no {what} within {seconds} s; the last that came: {arrived}") from None

    async def wait(
        self,
        event: str,
        count: int = 1,
        *,
        where: Callable[[Any], bool] = lambda _: True,
        seconds: float = WAIT_SECONDS,
    ) -> Any:
        """Waits for the `count`th event of that name, of those whose body fits `where`; answers its body."""

        def fitting() -> Sequence[Any]:
            return [body for body in self.bodies(event) if where(body)]

        await self.until(lambda: len(fitting()) >= count, seconds=seconds, what=f"{event} (number {count})")
        return fitting()[count - 1]

    async def wait_disconnected(self, *, seconds: float = WAIT_SECONDS) -> str:
        """Waits until the connection has ended; why, in the library's words."""
        await self.until(lambda: self.disconnected is not None, seconds=seconds, what="disconnect")
        assert self.disconnected is not None
        return self.disconnected

    def _arrived(self, event: str, *args: Any) -> None:
        self.received.append(Received(event, args))
        self._news.set()

    def _ended(self, reason: str) -> None:
        self.disconnected = reason
        self._news.set()
