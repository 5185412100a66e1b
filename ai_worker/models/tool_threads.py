"""Threads for an agent's tools that are plain functions.

A thread cannot be ended. The library's own keep a process that was told to stop waiting for a tool that
blocks; these are left behind.
"""

from collections.abc import Callable
from concurrent.futures import Executor, Future
from threading import Thread
from typing import Any, ParamSpec, TypeVar

from pydantic_ai.capabilities import CapabilityOrdering, UseThreadExecutor

P = ParamSpec("P")
T = TypeVar("T")


class ToolThreads(Executor):
    """An executor with a new thread for each call, which does not keep the process from ending."""

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Starts a call; its outcome is in the future."""
        future: Future[T] = Future()
        Thread(target=_settle, args=(future, fn, args, kwargs), name="tool", daemon=True).start()
        return future


class InToolThreads(UseThreadExecutor):
    """A capability: calls a run's tools in `ToolThreads`, unless its agent has an executor of its own."""

    def __init__(self) -> None:
        super().__init__(ToolThreads(), id="tool_threads")

    def get_ordering(self) -> CapabilityOrdering:
        """Returns the place around the agent's own executor, which comes later and so wins."""
        return CapabilityOrdering(position="outermost")


def _settle(future: Future[Any], call: Callable[..., Any], args: Any, kwargs: Any) -> None:
    if not future.set_running_or_notify_cancel():
        return
    try:
        future.set_result(call(*args, **kwargs))
    except BaseException as error:  # noqa: BLE001  # whoever called has to know
        future.set_exception(error)
