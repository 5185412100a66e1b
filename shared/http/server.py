"""An HTTP server for as long as a block runs, on one address."""

import asyncio
import errno
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Final

from aiohttp import web

from shared.config.start_errors import StartError
from shared.http.graceful_stop import Stopping
from shared.http.stop_listening import stop_accepting

BACKLOG: Final = 4096

ProtocolFactory = Callable[[], asyncio.Protocol]


@asynccontextmanager
async def http_server(
    app: web.Application,
    host: str,
    port: int,
    *,
    variables: str,
    drain: float = 10.0,
    linger: float = 0.0,
    entrance: Callable[[ProtocolFactory], ProtocolFactory] = lambda of_aiohttp: of_aiohttp,
    idle: float = 3600.0,
) -> AsyncIterator[Stopping]:
    """Serves `app` while the block runs; it listens when the block is entered.

    Leaving stops listening at once, gives clients `linger` seconds to finish with the connections that they
    kept (less when there are none left), then gives running requests `drain` seconds. The block may set
    `begun` of what it gets, to be seen as stopping earlier.

    `entrance` makes what takes connections, of what makes aiohttp's protocols for them.
    A connection is closed on which no request has come for `idle` seconds, not even its first.

    `variables` is how the variables for this address start, such as "API" for `API_HOST` and `API_PORT`.

    Raises:
        StartError: it cannot listen there; the text names the variable to change.
    """
    stopping = Stopping()
    stopping.watch(app)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=drain, keepalive_timeout=idle)
    await runner.setup()
    try:
        site = _Site(runner, host, port, entrance)
        try:
            await site.start()
        except (OSError, socket.gaierror) as error:
            raise StartError(_why_not_listening(error, host, port, variables)) from error
        try:
            yield stopping
        finally:
            stopping.begun = True
            if linger:
                await stop_accepting(site)
                await stopping.linger(runner, linger)
    finally:
        await runner.cleanup()


class _Site(web.BaseSite):
    """A listening TCP socket, whose connections `entrance` takes."""

    def __init__(
        self,
        runner: web.AppRunner,
        host: str,
        port: int,
        entrance: Callable[[ProtocolFactory], ProtocolFactory],
    ) -> None:
        super().__init__(runner, backlog=BACKLOG)
        assert runner.server is not None  # it is set up  # noqa: S101
        self._address = host, port
        self._protocols = entrance(runner.server)

    @property
    def name(self) -> str:
        """Returns the URL of its address."""
        host, port = self._address
        return f"http://{host}:{port}"

    async def start(self) -> None:
        """Starts to listen."""
        await super().start()
        loop, (host, port) = asyncio.get_running_loop(), self._address
        self._server = await loop.create_server(self._protocols, host, port, backlog=BACKLOG)


def _why_not_listening(error: OSError, host: str, port: int, variables: str) -> str:
    match error.errno:
        case errno.EADDRINUSE:
            return (
                f"Port {port} on {host} is taken: stop who listens there, or set {variables}_PORT to another."
            )
        case errno.EACCES:
            return f"Port {port} on {host} is not allowed: set {variables}_PORT to one above 1023."
        case _:
            return f"Cannot listen on {host}, port {port} ({error.strerror or error}): set {variables}_HOST."
