"""Health, readiness and metrics."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from time import monotonic

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from shared.http import health as ops
from shared.http.access_log import REQUEST_SECONDS


async def answers() -> None:
    """A dependency that is there."""


async def refuses() -> None:
    """A dependency that is away, whose driver tells the password."""
    raise ConnectionRefusedError("redis://:hunter2@store refused")


async def hangs() -> None:
    """A dependency that never answers."""
    await asyncio.Event().wait()


@asynccontextmanager
async def asking(path: str, **checks: ops.Check) -> AsyncIterator[aiohttp.ClientResponse]:
    app = web.Application()
    app.add_routes(ops.ops_routes(checks))
    async with TestClient(TestServer(app)) as client, client.get(path) as response:
        yield response


async def test_alive_needs_no_dependency() -> None:
    """`/healthz` answers while every dependency is away."""
    async with asking("/healthz", redis=refuses) as response:
        assert response.status == 200


async def test_ready_when_every_dependency_answers() -> None:
    """`/readyz` is 200 and lists them."""
    async with asking("/readyz", redis=answers, rabbitmq=answers) as response:
        assert response.status == 200
        assert await response.json() == {"status": "ready", "dependencies": {"redis": "ok", "rabbitmq": "ok"}}


async def test_not_ready_names_who_does_not_answer() -> None:
    """`/readyz` is a problem with code `unavailable`, and says nothing that a driver says."""
    async with asking("/readyz", postgresql=answers, redis=refuses) as response:
        assert response.status == 503
        assert response.content_type == "application/problem+json"
        assert response.headers["Retry-After"]
        problem = await response.json(content_type=None)
        text = await response.text()
    assert (problem["code"], problem["status"]) == ("unavailable", 503)
    assert problem["detail"] == "redis does not answer."
    assert problem["dependencies"] == {"postgresql": "ok", "redis": "ConnectionRefusedError"}
    assert "hunter2" not in text


async def test_a_dependency_that_hangs_is_waited_for_within_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    """All are asked at once, so that two that hang take no longer than one."""
    monkeypatch.setattr(ops, "CHECK_SECONDS", 0.2)
    before = monotonic()
    async with asking("/readyz", redis=hangs, rabbitmq=hangs) as response:
        problem = await response.json(content_type=None)
    assert monotonic() - before < 0.39
    assert problem["detail"] == "redis and rabbitmq do not answer."
    assert problem["dependencies"]["redis"] == "no answer within 0.2 s"


async def test_metrics_are_prometheus_text() -> None:
    """`/metrics` says its version in the content type, and holds what the process counts."""
    async with asking("/metrics") as response:
        assert response.content_type == "text/plain"
        assert "version=" in response.headers["Content-Type"]
        (counted,) = REQUEST_SECONDS.describe()
        assert counted.name in await response.text()
