"""Operators' routes of every service: is it alive, is it ready, what does it count."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from typing import Final

import orjson
import structlog
from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, Gauge, generate_latest

from shared.http.graceful_stop import STOPPING, Stopping

log = structlog.get_logger()

Check = Callable[[], Awaitable[None]]
"""Returns when a dependency answers, raises when it does not."""

CHECK_SECONDS: Final = 2.0
OK: Final = "ok"
PATHS: Final = frozenset({"/healthz", "/readyz", "/metrics"})
"""The paths of these routes: open without a token, and not worth a line in the log."""


TASKS: Final = Gauge(
    "roomcast_tasks", "Tasks of the event loop, by the coroutine that each runs.", ["coroutine"]
)

_NEVER: Final = Stopping()
"""Of an application that nobody stops."""


def ops_routes(checks: Mapping[str, Check]) -> list[web.RouteDef]:
    """Returns `GET /healthz` (200 while the event loop turns), `/readyz` and `/metrics` (Prometheus text).

    `/readyz` runs all checks at once, each for at most 2 s. 200 when every one passes; else 503 as problem
    details with code `unavailable`, whose `dependencies` has "ok" or a reason for each name. 503 without a
    look at them once the server is about to stop.
    """

    async def healthz(_: web.Request) -> web.Response:
        return _json(200, {"status": "ok"})

    async def readyz(request: web.Request) -> web.Response:
        if request.config_dict.get(STOPPING, _NEVER).begun:
            return _unready("This process is stopping.", {})
        names = list(checks)
        answers = await asyncio.gather(*(_answer(checks[name]) for name in names))
        return _readiness(dict(zip(names, answers, strict=True)))

    async def metrics(_: web.Request) -> web.Response:
        _count_tasks()
        return web.Response(body=generate_latest(), headers={"Content-Type": CONTENT_TYPE_LATEST})

    return [web.get("/healthz", healthz), web.get("/readyz", readyz), web.get("/metrics", metrics)]


def _count_tasks() -> None:
    running = Counter(getattr(task.get_coro(), "__qualname__", "") for task in asyncio.all_tasks())
    TASKS.clear()
    for coroutine, count in running.items():
        TASKS.labels(coroutine).set(count)


async def _answer(check: Check) -> str:
    try:
        async with asyncio.timeout(CHECK_SECONDS):
            await check()
    except TimeoutError:
        return f"no answer within {CHECK_SECONDS:g} s"
    except Exception as error:  # noqa: BLE001  # whatever a driver raises means: it does not answer
        return type(error).__name__  # its text may hold an address or a password
    return OK


def _readiness(dependencies: dict[str, str]) -> web.Response:
    away = [name for name, answer in dependencies.items() if answer != OK]
    if not away:
        return _json(200, {"status": "ready", "dependencies": dependencies})
    log.warning("ops.not_ready", **{name: dependencies[name] for name in away})
    detail = f"{' and '.join(away)} {'does' if len(away) == 1 else 'do'} not answer."
    return _unready(detail, dependencies)


def _unready(detail: str, dependencies: dict[str, str]) -> web.Response:
    problem = {
        "type": "about:blank",
        "title": "Service Unavailable",
        "status": 503,
        "detail": detail,
        "code": "unavailable",
        "dependencies": dependencies,
    }
    return _json(503, problem, "application/problem+json", {"Retry-After": "2"})


def _json(
    status: int,
    body: object,
    content_type: str = "application/json",
    headers: Mapping[str, str] | None = None,
) -> web.Response:
    return web.Response(
        status=status,
        body=orjson.dumps(body),
        content_type=content_type,
        headers={"Cache-Control": "no-store", **(headers or {})},
    )
