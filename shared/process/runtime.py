"""The life of a process: its event loop, its signals, its exit status."""

import asyncio
import gc
import signal
import sys
from collections.abc import Awaitable, Callable
from typing import Final

import structlog
import uvloop

from shared.config.start_errors import StartError

log = structlog.get_logger()

INTERRUPTED: Final = 130
GC_ALLOCATIONS: Final = 20_000
_ONE_PRESS_SECONDS: Final = 0.2


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
    """Makes the garbage collector look less often, and never at what was imported.

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
