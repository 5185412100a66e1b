"""Endpoints under test, and a client that asks them."""

from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import orjson
import pytest
from aiohttp import web
from unit.http.endpoints import OWN, Answer, Ask, BearersOnly, Failing, things

from chat_api.http.endpoints import add_endpoints
from chat_api.http.error_middleware import problems_middleware
from shared.http.access_log import http_middleware
from shared.http.cors import Origins, cors_middleware


@pytest.fixture(scope="module")
def failing() -> Failing:
    return Failing()


@pytest.fixture(scope="module")
async def ask(failing: Failing) -> AsyncIterator[Ask]:
    """Calls the application over a real connection."""
    app = web.Application(
        middlewares=[
            http_middleware("api"),
            cors_middleware(Origins(frozenset({OWN}))),
            problems_middleware(),
        ]
    )
    add_endpoints(app, [things(failing)], authenticator=BearersOnly())
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    host, port = runner.addresses[0]
    async with aiohttp.ClientSession(f"http://{host}:{port}") as http:

        async def call(method: str, path: str, *, token: str | None = "t", **options: Any) -> Answer:
            headers = dict(options.pop("headers", {}))
            if token is not None:
                headers["Authorization"] = f"Bearer {token}"
            async with http.request(method, path, headers=headers, **options) as got:
                raw = await got.read()
                is_json = raw and "json" in got.content_type
                return Answer(got.status, dict(got.headers), raw, orjson.loads(raw) if is_json else None)

        yield call
    await runner.cleanup()
