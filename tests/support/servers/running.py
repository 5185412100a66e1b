"""A server for as long as a block runs."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Protocol, TypeVar


class Server(Protocol):
    """A server that can be started, and removed with its data."""

    async def start(self) -> None:
        """Returns when it answers."""

    async def remove(self) -> None:
        """Stops it and removes its data."""


AnyServer = TypeVar("AnyServer", bound=Server)


@asynccontextmanager
async def running(server: AnyServer) -> AsyncIterator[AnyServer]:
    """Starts `server`; removes it afterwards, also when it could not be started."""
    try:
        await server.start()
        yield server
    finally:
        await server.remove()
