"""The life of a process."""

import asyncio
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from subprocess import PIPE

import aiohttp
import pytest
from aiohttp import web

from shared.concurrency.backoff import backoff
from shared.config.start_errors import StartError
from shared.http.health import ops_routes
from shared.http.server import http_server

ROOT = Path(__file__).parents[3]

PREAMBLE = """
import asyncio, sys
from shared.telemetry import logs
from shared.http.health import ops_routes
from shared.config.start_errors import StartError
from shared.process.runtime import run

logs.configure("tests", as_json=True, level="info")

async def main(stop):
{body}

sys.exit(run(main))
"""


@contextmanager
def process(body: str) -> Iterator[subprocess.Popen[str]]:
    """A program whose main coroutine is `body`; it ends with the block."""
    indented = "\n".join("    " + line for line in body.strip().splitlines())
    code = PREAMBLE.format(body=indented)
    command = [sys.executable, "-c", code]
    with subprocess.Popen(command, cwd=ROOT, stdout=PIPE, stderr=PIPE, text=True) as running:
        try:
            yield running
        finally:
            running.kill()


def said(running: subprocess.Popen[str]) -> str:
    assert running.stdout is not None
    return running.stdout.readline().strip()


DRAIN = """
print("up", flush=True)
await stop.wait()
print("draining", flush=True)
{then}
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_lets_it_drain(number: signal.Signals) -> None:
    """The first signal sets the event; the process ends in its own time, with status 0."""
    with process(DRAIN.format(then='print("done", flush=True)')) as running:
        assert said(running) == "up"
        running.send_signal(number)
        output, errors = running.communicate(timeout=10)
    assert output.split() == ["draining", "done"]
    assert (running.returncode, "Traceback" in errors) == (0, False)


def test_a_second_signal_cuts_the_drain() -> None:
    """A second Ctrl-C ends the wait."""
    waiting = 'await asyncio.sleep(0.3); print("slow", flush=True); await asyncio.Event().wait()'
    with process(DRAIN.format(then=waiting)) as running:
        assert said(running) == "up"
        running.send_signal(signal.SIGINT)
        assert [said(running), said(running)] == ["draining", "slow"]
        running.send_signal(signal.SIGINT)
        _, errors = running.communicate(timeout=10)
    assert (running.returncode, "Traceback" in errors) == (130, False)


def test_a_signal_that_comes_twice_at_once_is_one() -> None:
    """As `timeout` sends it: to its child, and to the group."""
    with process(DRAIN.format(then='await asyncio.sleep(0.1); print("done", flush=True)')) as running:
        assert said(running) == "up"
        running.send_signal(signal.SIGINT)
        assert said(running) == "draining"
        running.send_signal(signal.SIGINT)
        output, _ = running.communicate(timeout=10)
    assert (running.returncode, output) == (0, "done\n")


def test_a_refusal_to_start_is_a_line_without_a_traceback() -> None:
    """Also when it comes out of a task group, and beside others."""
    body = """
async def refuse(why):
    raise StartError(why)

async with asyncio.TaskGroup() as group:
    async with asyncio.TaskGroup() as inner:
        inner.create_task(refuse("Port 1 is taken."))
        inner.create_task(refuse("Port 2 is taken."))
"""
    with process(body) as running:
        _, errors = running.communicate(timeout=10)
    assert running.returncode == 1
    assert errors.splitlines() == ["Port 1 is taken.", "Port 2 is taken."]


def test_a_failure_is_logged_with_its_traceback() -> None:
    """An error that nobody foresaw is shown whole."""
    with process("raise RuntimeError('unforeseen')") as running:
        output, errors = running.communicate(timeout=10)
    assert running.returncode == 1
    assert "unforeseen" in output + errors
    assert "Traceback" in output + errors


def test_pauses_grow_to_a_bound_and_differ() -> None:
    """Each is between half and the whole of its step; the steps double up to the most."""
    steps = [0.1, 0.2, 0.4, 0.8, 1.0, 1.0, 1.0]
    for pause, step in zip(backoff(0.1, 1.0), steps, strict=False):
        assert step / 2 <= pause <= step
    assert len(set(islice(backoff(), 20))) == 20


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


async def test_it_listens_inside_the_block_only() -> None:
    """Entered, it answers; left, the port is free again."""
    port = free_port()
    async with aiohttp.ClientSession() as http:
        async with (
            http_server(web.Application(), "127.0.0.1", port, variables="API"),
            http.get(f"http://127.0.0.1:{port}/") as response,
        ):
            assert response.status == 404
        with pytest.raises(aiohttp.ClientConnectorError):
            await http.get(f"http://127.0.0.1:{port}/")


async def test_leaving_waits_for_running_requests() -> None:
    """A request that is being answered gets its answer."""
    port, entered, leave = free_port(), asyncio.Event(), asyncio.Event()

    async def slow(_: web.Request) -> web.Response:
        entered.set()
        await leave.wait()
        return web.Response(text="answered")

    app = web.Application()
    app.router.add_get("/", slow)

    async def ask() -> str:
        async with aiohttp.ClientSession() as http, http.get(f"http://127.0.0.1:{port}/") as response:
            return await response.text()

    async with asyncio.TaskGroup() as group, http_server(app, "127.0.0.1", port, variables="API"):
        asking = group.create_task(ask())
        await entered.wait()
        asyncio.get_running_loop().call_later(0.1, leave.set)
    assert asking.result() == "answered"


async def test_a_kept_connection_gets_a_last_answer() -> None:
    """A request on it after the stop began is answered, and told that the connection ends."""
    port, app = free_port(), web.Application()
    app.add_routes(ops_routes({}))
    async with aiohttp.ClientSession(f"http://127.0.0.1:{port}") as http:
        async with asyncio.TaskGroup() as group:
            async with http_server(app, "127.0.0.1", port, variables="API", linger=5.0) as server:
                async with http.get("/readyz") as ready:
                    assert (ready.status, ready.headers.get("Connection")) == (200, None)
                leaving = asyncio.get_running_loop().time()
                asking = group.create_task(_when(lambda: server.begun, http, "/readyz"))
            assert asyncio.get_running_loop().time() - leaving < 2, (
                "the last connection is gone: no more waiting"
            )
        assert asking.result() == (503, "close")
        with pytest.raises(aiohttp.ClientConnectorError):
            await http.get("/readyz")


async def _when(so: Callable[[], bool], http: aiohttp.ClientSession, path: str) -> tuple[int, str]:
    while not so():  # noqa: ASYNC110  a plain flag
        await asyncio.sleep(0.01)
    await asyncio.sleep(0.2)
    async with http.get(path) as answer:
        return answer.status, answer.headers["Connection"]


async def test_whoever_gets_in_is_answered() -> None:
    """Under a storm of new connections a stop refuses, and resets none that was made."""
    port, storm, ended = free_port(), asyncio.Event(), list[str]()

    async def connect() -> None:
        while not storm.is_set():
            try:
                reader, writer = await asyncio.open_connection("127.0.0.1", port)
                writer.write(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
                ended.append("answered" if b"404" in await reader.read() else "cut off")
                writer.close()
            except ConnectionRefusedError:
                ended.append("refused")
                await asyncio.sleep(0.001)
            except OSError as error:
                ended.append(repr(error))

    async with asyncio.TaskGroup() as clients:
        for _ in range(20):
            clients.create_task(connect())
        for _ in range(15):
            app = web.Application()
            async with http_server(app, "127.0.0.1", port, variables="API", linger=0.5):
                await asyncio.sleep(0.1)
        storm.set()
    assert set(ended) == {"answered", "refused"}


async def test_idle_connections_hold_up_a_stop_for_a_moment_only() -> None:
    """A client that keeps a connection and says nothing is not waited for beyond the bound."""
    port = free_port()
    async with aiohttp.ClientSession() as http:
        async with http_server(web.Application(), "127.0.0.1", port, variables="API", linger=0.3):
            await (await http.get(f"http://127.0.0.1:{port}/")).read()
            leaving = asyncio.get_running_loop().time()
        assert 0.3 <= asyncio.get_running_loop().time() - leaving < 1


async def test_a_port_that_is_taken_names_its_variable() -> None:
    """The operator reads what to change."""
    port = free_port()
    async with http_server(web.Application(), "127.0.0.1", port, variables="API"):
        with pytest.raises(StartError, match=rf"Port {port} on 127.0.0.1 is taken.*GATEWAY_PORT"):
            async with http_server(web.Application(), "127.0.0.1", port, variables="GATEWAY"):
                pass


@pytest.mark.parametrize("host", ["192.0.2.1", "no-such-host.invalid"])
async def test_a_host_that_is_not_this_machine_names_its_variable(host: str) -> None:
    """An address of another machine, or a name that means nothing."""
    with pytest.raises(StartError, match="WORKER_HOST"):
        async with http_server(web.Application(), host, free_port(), variables="WORKER"):
            pass
