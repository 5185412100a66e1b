"""The outermost middleware: request ids, the access log, durations, and a span for each request."""

import re
import time
from functools import cache
from typing import Final

import structlog
from aiohttp import web
from aiohttp.typedefs import Handler, Middleware
from prometheus_client import Histogram

from shared.http.health import PATHS
from shared.ids import new_id
from shared.telemetry.correlation import request_context
from shared.telemetry.tracing import new_traceparent, span, valid_traceparent

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


def http_middleware(service: str) -> Middleware:
    """Returns the outermost middleware of a service's HTTP: request id, trace, access log, duration.

    A request's `X-Request-Id` and `traceparent` are taken over when they fit, else made; the response has the
    `X-Request-Id`, unless its handler sent the headers itself. Requests of the operational paths are logged
    at debug, all others at info.
    """

    @web.middleware
    async def observe(request: web.Request, handler: Handler) -> web.StreamResponse:
        request_id = _request_id_of(request)
        route = _route_of(request)
        started = time.perf_counter()
        status = _CLIENT_GONE
        with request_context(request_id, _traceparent_of(request)):
            try:
                with span(f"{request.method} {route}", service=service):
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
                _record(service, request, route, status, time.perf_counter() - started)
            if not response.prepared:
                response.headers[REQUEST_ID_HEADER] = request_id
            return response

    return observe


def _request_id_of(request: web.Request) -> str:
    given = request.headers.get(REQUEST_ID_HEADER, "")
    return given if _FITTING_REQUEST_ID.fullmatch(given) else new_id()


def _traceparent_of(request: web.Request) -> str:
    given = request.headers.get("traceparent", "")
    return given if valid_traceparent(given) else new_traceparent()


def _route_of(request: web.Request) -> str:
    """Returns the route's pattern: of bounded number, unlike paths."""
    resource = request.match_info.route.resource
    return "unmatched" if resource is None else resource.canonical


def _record(service: str, request: web.Request, route: str, status: int, seconds: float) -> None:
    method = request.method if request.method in _METHODS else "other"
    _seconds(service, method, route, status).observe(seconds)
    line = log.debug if request.path in PATHS else log.info
    line("http.request", method=method, path=request.path, status=status, ms=round(seconds * 1000, 1))


@cache
def _seconds(service: str, method: str, route: str, status: int) -> Histogram:
    return REQUEST_SECONDS.labels(service, method, route, str(status))
