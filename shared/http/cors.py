"""Leave for web pages to call: the `Origin` header (RFC 6454) and CORS (the Fetch standard)."""

from typing import Final

from aiohttp import hdrs, web
from aiohttp.typedefs import Handler, Middleware
from multidict import CIMultiDict

ANY: Final = "*"
_METHODS: Final = "GET, HEAD, POST, PATCH, DELETE"
_REQUEST_HEADERS: Final = "Authorization, Content-Type, Idempotency-Key, X-Request-Id, traceparent"
_RESPONSE_HEADERS: Final = "Idempotency-Replayed, Retry-After, X-Request-Id"
_PREFLIGHT_SECONDS: Final = "600"


class Origins:
    """The origins whose pages may call; `*` among them stands for every one."""

    def __init__(self, allowed: frozenset[str]) -> None:
        self.any = ANY in allowed
        self._allowed = allowed

    def allows(self, origin: str | None) -> bool:
        """Returns whether a request with this `Origin` header may call; only browsers send one."""
        return origin is None or self.any or origin.lower() in self._allowed


def cors_middleware(origins: Origins) -> Middleware:
    """Tells browsers what the pages of allowed origins may do; those of others are told nothing.

    It comes before the middleware that answers failures, so that pages can read these too. There are no
    cookies here, so credentials are never allowed.
    """

    @web.middleware
    async def allow_origins(request: web.Request, handler: Handler) -> web.StreamResponse:
        origin = request.headers.get(hdrs.ORIGIN)
        if origin is not None and _is_preflight(request):
            response: web.StreamResponse = web.Response(status=204)
        else:
            try:
                response = await handler(request)
            except web.HTTPException as refusal:
                _set_headers(refusal.headers, request, origins, origin)
                raise
        if not response.prepared:
            _set_headers(response.headers, request, origins, origin)
        return response

    return allow_origins


def _is_preflight(request: web.Request) -> bool:
    return request.method == hdrs.METH_OPTIONS and hdrs.ACCESS_CONTROL_REQUEST_METHOD in request.headers


def _set_headers(
    headers: CIMultiDict[str], request: web.Request, origins: Origins, origin: str | None
) -> None:
    if not origins.any:
        headers.add(hdrs.VARY, hdrs.ORIGIN)
    if origin is None or not origins.allows(origin):
        return
    headers[hdrs.ACCESS_CONTROL_ALLOW_ORIGIN] = ANY if origins.any else origin
    if _is_preflight(request):
        headers[hdrs.ACCESS_CONTROL_ALLOW_METHODS] = _METHODS
        headers[hdrs.ACCESS_CONTROL_ALLOW_HEADERS] = _REQUEST_HEADERS
        headers[hdrs.ACCESS_CONTROL_MAX_AGE] = _PREFLIGHT_SECONDS
    else:
        headers[hdrs.ACCESS_CONTROL_EXPOSE_HEADERS] = _RESPONSE_HEADERS
