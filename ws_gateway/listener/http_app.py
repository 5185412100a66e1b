"""Answers HTTP: Socket.IO's path, the operational paths, and 404 at once for everything else."""

import asyncio
from collections.abc import Callable, Mapping
from typing import Final

from aiohttp import hdrs, web
from aiohttp.typedefs import Handler, Middleware

from shared.http.access_log import http_middleware
from shared.http.cors import Origins, cors_middleware
from shared.http.health import Check, ops_routes
from shared.http.proxies import Proxies
from ws_gateway.engine.server import Engine
from ws_gateway.limits import Limits
from ws_gateway.listener.handshake_limits import Admission
from ws_gateway.listener.http_connections import HttpConnections
from ws_gateway.metrics import HANDSHAKE_TIMEOUT, LIMITED, PAYLOAD_TOO_LARGE

PATHS: Final = ("/socket.io/", "/socket.io")
RETRY_SECONDS: Final = "1"


def application(
    *,
    engine: Engine,
    origins: Origins,
    checks: Mapping[str, Check],
    can_verify: Callable[[], bool],
    admission: Admission,
    proxies: Proxies,
    connections: HttpConnections,
    limits: Limits,
) -> web.Application:
    """Returns the application to serve.

    While `can_verify` says no, a client that comes gets 503, so that it tries again by itself.
    """

    async def socket_io(request: web.Request) -> web.StreamResponse:
        if not request.query.get("sid") and request.method == hdrs.METH_GET:
            if not can_verify():
                return web.Response(status=503, text="Not ready", headers={hdrs.RETRY_AFTER: RETRY_SECONDS})
            address = proxies.address(request)
            if (refusal := admission.refusal(address)) is not None:
                return refusal.response()
            if address != request.remote:
                request = request.clone(remote=address)
        if "j" in request.query:  # JSONP ended with Socket.IO 2
            return web.Response(status=400, text="JSONP is not supported")
        await _read_body(request, limits.handshake_seconds)
        if request.headers.get(hdrs.UPGRADE, "").lower() == "websocket":
            with connections.may_be_websocket(request.transport):
                return await engine.handle_request(request)
        response = await engine.handle_request(request)
        if not response.prepared:
            response.headers.setdefault(hdrs.CACHE_CONTROL, "no-store")
        return response

    app = web.Application(
        middlewares=[_mark_busy(connections), _observed_but_for(PATHS), cors_middleware(origins)],
        client_max_size=limits.max_payload,
        handler_args={
            "auto_decompress": False
        },  # no client compresses what it sends; broken ones would be logged
    )
    app.add_routes(ops_routes(checks))
    for path in PATHS:
        app.router.add_get(path, socket_io, allow_head=False)
        app.router.add_post(path, socket_io)
        app.router.add_options(path, socket_io)
    return app


async def _read_body(request: web.Request, seconds: float) -> None:
    """Reads the whole body of a request, which is kept with it then."""
    try:
        async with asyncio.timeout(seconds):
            await request.read()
    except TimeoutError:
        LIMITED.labels(HANDSHAKE_TIMEOUT).inc()
        raise web.HTTPRequestTimeout(headers={hdrs.CONNECTION: "close"}) from None
    except (ConnectionError, web.RequestPayloadError) as error:
        raise web.HTTPBadRequest from error  # the client has gone, or its chunks make no sense
    except web.HTTPRequestEntityTooLarge:
        LIMITED.labels(PAYLOAD_TOO_LARGE).inc()
        raise


def _mark_busy(connections: HttpConnections) -> Middleware:
    """Marks connections busy while something that came over them is answered."""

    @web.middleware
    async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
        with connections.answering(request.transport):
            return await handler(request)

    return middleware


def _observed_but_for(paths: tuple[str, ...]) -> Middleware:
    """Logs and times requests as other services do, but not polls and WebSockets, which last as they like."""
    observe = http_middleware("gateway")

    @web.middleware
    async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
        if request.path in paths:
            return await handler(request)
        return await observe(request, handler)

    return middleware
