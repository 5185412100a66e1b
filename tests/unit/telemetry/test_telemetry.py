"""Logs, request ids, durations and traces."""

import asyncio
import json
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer
from prometheus_client import REGISTRY
from structlog.testing import capture_logs

from shared.http.access_log import http_middleware
from shared.telemetry.correlation import current_request_id, current_traceparent, request_context
from shared.telemetry.tracing import span

ROOT = Path(__file__).parents[3]
TRACEPARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
Client = TestClient[web.Request, web.Application]


async def whoami(request: web.Request) -> web.Response:
    """Tells what the handler knows of the request that it runs for."""
    return web.json_response({"id": current_request_id(), "trace": current_traceparent()})


async def refuse(_: web.Request) -> web.Response:
    raise web.HTTPForbidden


async def fail(_: web.Request) -> web.Response:
    raise RuntimeError("unforeseen")


async def stream(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse()
    await response.prepare(request)
    await response.write(b"streamed")
    return response


@asynccontextmanager
async def client() -> AsyncIterator[Client]:
    app = web.Application(middlewares=[http_middleware("tests")])
    app.router.add_get("/who/{name}", whoami)
    app.router.add_get("/refuse", refuse)
    app.router.add_get("/fail", fail)
    app.router.add_get("/stream", stream)
    app.router.add_get("/healthz", whoami)
    async with TestClient(TestServer(app)) as made:
        yield made


async def test_a_request_keeps_the_id_and_the_trace_that_it_brings() -> None:
    """The handler, its log lines and the response have the caller's id."""
    brought = {"X-Request-Id": "caller-1", "traceparent": TRACEPARENT}
    async with client() as http, http.get("/who/a", headers=brought) as response:
        assert response.headers["X-Request-Id"] == "caller-1"
        assert await response.json() == {"id": "caller-1", "trace": TRACEPARENT}
    assert (current_request_id(), current_traceparent()) == ("", "")


@pytest.mark.parametrize("given", ["", "a b", "x" * 129, "ä", 'a"b'])
async def test_a_request_gets_an_id_where_it_brings_none_that_fits(given: str) -> None:
    """An id that could break a log line or a header is replaced."""
    async with client() as http, http.get("/who/a", headers={"X-Request-Id": given}) as response:
        made = response.headers["X-Request-Id"]
        assert made != given
        assert (await response.json())["id"] == made
        assert len(made) == 36


@pytest.mark.parametrize(
    "given",
    ["", "x", TRACEPARENT.upper(), "ff" + TRACEPARENT[2:], TRACEPARENT.replace("b7ad6b7169203331", "0" * 16)],
)
async def test_a_trace_that_is_none_is_replaced_by_a_new_one(given: str) -> None:
    """Events carry a valid traceparent, whatever a client sends."""
    async with client() as http, http.get("/who/a", headers={"traceparent": given}) as response:
        trace = (await response.json())["trace"]
    version, trace_id, parent_id, flags = trace.split("-")
    assert (version, len(trace_id), len(parent_id), flags) == ("00", 32, 16, "00")


@pytest.mark.parametrize(
    ("path", "status", "level"),
    [
        ("/who/a?token=hunter2", 200, "info"),
        ("/refuse", 403, "info"),
        ("/fail", 500, "info"),
        ("/stream", 200, "info"),
        ("/nowhere", 404, "info"),
        ("/healthz", 200, "debug"),
    ],
)
async def test_each_request_is_one_line_in_the_log(path: str, status: int, level: str) -> None:
    """With method, path and status, without the query; operational paths only at debug."""
    with capture_logs() as lines:
        async with client() as http, http.get(path) as response:
            assert response.status == status
            await response.read()
    [line] = [line for line in lines if line["event"] == "http.request"]
    assert (line["method"], line["path"], line["status"]) == ("GET", path.partition("?")[0], status)
    assert line["log_level"] == level
    assert "hunter2" not in repr(line)


async def test_a_refused_request_has_its_id_too() -> None:
    """Errors are what people ask about."""
    async with client() as http, http.get("/refuse", headers={"X-Request-Id": "r"}) as response:
        assert response.headers["X-Request-Id"] == "r"


async def test_durations_are_counted_by_route_not_by_path() -> None:
    """The number of series is bounded, whatever clients ask for, by whatever method."""

    def count(method: str, route: str, status: str) -> float:
        labels = {"service": "tests", "method": method, "route": route, "status": status}
        return REGISTRY.get_sample_value("roomcast_http_request_seconds_count", labels) or 0.0

    before = count("GET", "/who/{name}", "200"), count("other", "unmatched", "404")
    async with client() as http:
        for name in ("a", "b"):
            await http.get(f"/who/{name}")
        await http.request("PROPFIND", "/pot")
    assert count("GET", "/who/{name}", "200") == before[0] + 2
    assert count("other", "unmatched", "404") == before[1] + 1


def test_contexts_nest() -> None:
    """Leaving an inner one brings the outer one back, also after an error."""
    with request_context("outer", TRACEPARENT):
        with suppress(RuntimeError), request_context("inner", ""):
            assert (current_request_id(), current_traceparent()) == ("inner", "")
            raise RuntimeError
        assert (current_request_id(), current_traceparent()) == ("outer", TRACEPARENT)


def test_a_span_costs_nothing_while_tracing_is_off() -> None:
    """It changes nothing, and imports nothing of OpenTelemetry."""
    with request_context("r", TRACEPARENT), span("work", size=1):
        assert current_traceparent() == TRACEPARENT
    program = (
        "import sys, shared.telemetry.setup; sys.exit(any('opentelemetry' in name for name in sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=False).returncode == 0


SPEAKING = """
import logging, sys
import structlog
from shared.config.settings import Settings
from shared.telemetry.correlation import request_context
from shared.telemetry import setup as telemetry
telemetry.configure("tests", Settings.load(log_format="{format}", log_level="{level}"))
log = structlog.get_logger()
with request_context("request-1", ""):
    log.debug("quiet.one")
    log.info("loud.one", number=1, odd={{1: b"x"}})
    logging.getLogger("library").info("chatter with a body")
    logging.getLogger("library").warning("from a %s", "library")
    try:
        password = "hunter2"
        raise ValueError("broken")
    except ValueError:
        log.exception("went.wrong")
"""


def spoken(**choices: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", SPEAKING.format(**choices)],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    )
    assert done.stdout == ""
    return done.stderr


def test_json_logs_are_one_object_a_line() -> None:
    """Of our own code and of libraries alike, with time, level, service and request id."""
    lines: list[dict[str, Any]] = [
        json.loads(line) for line in spoken(format="json", level="info").splitlines()
    ]
    assert [line["event"] for line in lines] == ["loud.one", "from a library", "went.wrong"]
    assert [line["level"] for line in lines] == ["info", "warning", "error"]
    assert {line["service"] for line in lines} == {"tests"}
    assert {line["request_id"] for line in lines} == {"request-1"}
    assert all(line["time"].endswith("Z") for line in lines)
    assert "ValueError: broken" in lines[2]["exception"]


@pytest.mark.parametrize("form", ["json", "console"])
def test_a_traceback_shows_no_variables(form: str) -> None:
    """A password in a local variable stays out of the log."""
    assert "hunter2" not in spoken(format=form, level="info").replace('password = "hunter2"', "")
    assert "broken" in spoken(format=form, level="info")


def test_the_level_is_a_threshold() -> None:
    """`debug` lets everything of ours through, `error` only errors; libraries never below warnings."""
    assert "quiet.one" in spoken(format="console", level="debug")
    assert "chatter" not in spoken(format="console", level="debug")
    assert "loud.one" not in spoken(format="console", level="error")
    assert "library" not in spoken(format="console", level="error")


async def test_spans_reach_the_collector() -> None:
    """With an endpoint, spans go out over OTLP, as children of the caller's trace."""
    bodies: list[bytes] = []

    async def collect(request: web.Request) -> web.Response:
        bodies.append(await request.read())
        return web.Response()

    app = web.Application()
    app.router.add_post("/v1/traces", collect)
    async with TestServer(app) as collector:
        program = f"""
from shared.config.settings import Settings
from shared.telemetry.correlation import current_traceparent, request_context
from shared.telemetry.tracing import span
from shared.telemetry import setup as telemetry
telemetry.configure("tests", Settings.load(otel_exporter_otlp_endpoint="{collector.make_url("/")}"))
with request_context("r", "{TRACEPARENT}"), span("outer.work", size=3):
    outer = current_traceparent()
    with span("inner.work"):
        inner = current_traceparent()
assert outer != inner
assert current_traceparent() == ""
print(outer, inner)
"""
        running = await asyncio.create_subprocess_exec(
            sys.executable, "-c", program, cwd=ROOT, stdout=asyncio.subprocess.PIPE
        )
        output, _ = await running.communicate()
    assert running.returncode == 0
    trace_id = TRACEPARENT.split("-")[1]
    assert all(trace.split("-")[1] == trace_id for trace in output.decode().split())
    sent = b"".join(bodies)
    assert b"outer.work" in sent
    assert b"inner.work" in sent
    assert bytes.fromhex(trace_id) in sent
