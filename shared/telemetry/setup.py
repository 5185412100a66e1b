"""Request ids, access logs and spans: what ties a message's way through the services together."""

import re
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import cache
from typing import Any, Final

import structlog
from aiohttp import web
from aiohttp.typedefs import Handler, Middleware
from prometheus_client import Histogram

from shared.config.settings import Settings
from shared.http import health as ops
from shared.ids import new_id
from shared.telemetry import logs, tracing
from shared.telemetry.correlation import (
    current_request_id,
    current_traceparent,
    request_context,
    trace_context,
)

__all__ = [
    "configure",
    "current_request_id",
    "current_traceparent",
    "http_middleware",
    "request_context",
    "span",
]

log = structlog.get_logger()

REQUEST_ID_HEADER: Final = "X-Request-Id"
REQUEST_SECONDS: Final = Histogram(
    "roomcast_http_request_seconds",
    "From the arrival of a request to the end of its handler.",
    ["service", "method", "route", "status"],
)

_FITTING_REQUEST_ID: Final = re.compile(r"[A-Za-z0-9._:+/=@-]{1,128}")
_METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
_CLIENT_GONE: Final = 499
_UNRECORDED: Final = nullcontext()


def configure(service: str, settings: Settings) -> None:
    """Sets up logs and, where a collector is configured, traces; once in a process, before others log."""
    logs.configure(service, as_json=settings.log_format == "json", level=settings.log_level)
    if settings.otel_exporter_otlp_endpoint is not None:
        tracing.enable(service, settings.otel_exporter_otlp_endpoint)


def span(name: str, **attributes: Any) -> AbstractContextManager[None]:
    """Records the block as a span of the current trace; costs next to nothing while tracing is off."""
    return _recorded(name, attributes) if tracing.enabled() else _UNRECORDED


@contextmanager
def _recorded(name: str, attributes: dict[str, Any]) -> Iterator[None]:
    with (
        tracing.child_span(name, current_traceparent(), attributes) as traceparent,
        trace_context(traceparent),
    ):
        yield


def http_middleware(service: str) -> Middleware:
    """The outermost middleware of a service's HTTP: request id, trace, access log, duration.

    A request's `X-Request-Id` and `traceparent` are taken over when they fit, else made; the response has the
    `X-Request-Id`, unless its handler sent the headers itself. Requests of the operational paths are logged
    at debug, all others at info.
    """

    @web.middleware
    async def observe(request: web.Request, handler: Handler) -> web.StreamResponse:
        request_id = _request_id_of(request)
        started = time.perf_counter()
        status = _CLIENT_GONE
        with request_context(request_id, _traceparent_of(request)):
            try:
                if tracing.enabled():
                    with _recorded(f"{request.method} {_route_of(request)}", {"service": service}):
                        response = await handler(request)
                else:
                    response = await handler(request)
                status = response.status
            except web.HTTPException as answer:
                status = answer.status
                answer.headers[REQUEST_ID_HEADER] = request_id
                raise
            except Exception:
                status = 500
                raise
            finally:
                _record(service, request, status, time.perf_counter() - started)
            if not response.prepared:
                response.headers[REQUEST_ID_HEADER] = request_id
            return response

    return observe


def _request_id_of(request: web.Request) -> str:
    given = request.headers.get(REQUEST_ID_HEADER, "")
    return given if _FITTING_REQUEST_ID.fullmatch(given) else new_id()


def _traceparent_of(request: web.Request) -> str:
    given = request.headers.get("traceparent", "")
    return given if tracing.valid_traceparent(given) else tracing.new_traceparent()


def _route_of(request: web.Request) -> str:
    """The route's pattern: of bounded number, unlike paths."""
    resource = request.match_info.route.resource
    return "unmatched" if resource is None else resource.canonical


def _record(service: str, request: web.Request, status: int, seconds: float) -> None:
    method = request.method if request.method in _METHODS else "other"
    _seconds(service, method, _route_of(request), status).observe(seconds)
    line = log.debug if request.path in ops.PATHS else log.info
    line("http.request", method=method, path=request.path, status=status, ms=round(seconds * 1000, 1))


@cache
def _seconds(service: str, method: str, route: str, status: int) -> Histogram:
    return REQUEST_SECONDS.labels(service, method, route, str(status))
