"""The life of a process: its event loop, its signals, its HTTP servers."""

import asyncio
import errno
import gc
import signal
import socket
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import structlog
import uvloop
from aiohttp import web

from shared.config.start_errors import StartError
from shared.http.graceful_stop import Stopping
from shared.http.stop_listening import close_door

__all__ = ["StartError", "http_server", "refused", "run"]

log = structlog.get_logger()

BACKLOG = 4096
INTERRUPTED = 130
GC_ALLOCATIONS = 20_000
_ONE_PRESS_SECONDS = 0.2


def run(main: Callable[[asyncio.Event], Awaitable[None]]) -> int:
    """Runs `main` to its end and gives the exit status of the process.

    The first SIGINT or SIGTERM sets the event that `main` gets: it should drain and return. A later one
    cancels `main` (not one right after the first: some programs send it to their child and to its group).

    Returns:
        0 after an orderly end, 1 when `main` failed (the reason is on stderr), 2 when it refused the
        settings, 130 when it was cut.
    """
    tune_gc()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        try:
            runner.run(_until_signalled(main))
        except asyncio.CancelledError:
            return INTERRUPTED
        except StartError as error:
            return refused(error)
        except ExceptionGroup as group:
            refusals, others = group.split(StartError)
            if others is not None or refusals is None:
                return _failed(group)
            return refused(*_leaves(refusals))
        except Exception as error:  # noqa: BLE001  # the last place that can say why the process ends
            return _failed(error)
    return 0


def tune_gc() -> None:
    """Has the garbage collector look less often, and never at what was imported.

    With its defaults it walks through all that a process holds, rooms and sockets too, every few thousand
    requests; hardly anything here is freed by it rather than by its reference count.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(GC_ALLOCATIONS, 20, 100)


async def _until_signalled(main: Callable[[asyncio.Event], Awaitable[None]]) -> None:
    stop = asyncio.Event()
    task = asyncio.current_task()
    loop = asyncio.get_running_loop()
    first = 0.0

    def on_signal(name: str) -> None:
        nonlocal first
        if stop.is_set():
            if loop.time() - first < _ONE_PRESS_SECONDS:
                return
            log.warning("runtime.cut", signal=name)
            if task is not None:
                task.cancel()
        else:
            log.info("runtime.stopping", signal=name)
            first = loop.time()
            stop.set()

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, on_signal, number.name)
    try:
        await main(stop)
    finally:
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.remove_signal_handler(number)


def refused(*errors: StartError) -> int:
    """Says on stderr why the program does not start; gives its exit status."""
    for error in errors:
        sys.stderr.write(f"{error}\n")
    return max(error.exit_status for error in errors)


def _leaves(error: ExceptionGroup[StartError] | StartError) -> list[StartError]:
    if isinstance(error, StartError):
        return [error]
    return [leaf for inner in error.exceptions for leaf in _leaves(inner)]


def _failed(error: Exception) -> int:
    log.error("runtime.failed", exc_info=error)
    return 1


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
                await close_door(site)
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
        """Where it listens."""
        host, port = self._address
        return f"http://{host}:{port}"

    async def start(self) -> None:
        """Listens."""
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
