"""Correlation of log lines and events with the request that they come from."""

from contextvars import ContextVar, Token
from typing import Self

_request_id: ContextVar[str] = ContextVar("request_id", default="")
_traceparent: ContextVar[str] = ContextVar("traceparent", default="")


def current_request_id() -> str:
    """Returns the id of the request that this code runs for, or ""."""
    return _request_id.get()


def current_traceparent() -> str:
    """Returns the W3C traceparent of what this code runs for, or ""."""
    return _traceparent.get()


class request_context:  # noqa: N801  used like a function; a generator's context manager costs four times this
    """Within the block, log lines and events carry these; "" where one is not known."""

    __slots__ = ("_given", "_request", "_trace")

    def __init__(self, request_id: str, traceparent: str) -> None:
        self._given = request_id, traceparent

    def __enter__(self) -> Self:
        request_id, traceparent = self._given
        self._request: Token[str] = _request_id.set(request_id)
        self._trace: Token[str] = _traceparent.set(traceparent)
        return self

    def __exit__(self, *_: object) -> None:
        _request_id.reset(self._request)
        _traceparent.reset(self._trace)


class trace_context:  # noqa: N801
    """Within the block, events carry this traceparent."""

    __slots__ = ("_given", "_trace")

    def __init__(self, traceparent: str) -> None:
        self._given = traceparent

    def __enter__(self) -> Self:
        self._trace: Token[str] = _traceparent.set(self._given)
        return self

    def __exit__(self, *_: object) -> None:
        _traceparent.reset(self._trace)
