"""Starts the gateways that are compared, each as a process of its own."""

import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import aiohttp
from support.servers.ports import free_port
from support.servers.process import Process, find_program

from bench.environment import NODE, ROOT, START_SECONDS, Environment
from bench.load.feeders import EXCHANGE, Feeder
from bench.meter import Meter

ROOMCAST: Final = "roomcast"
STOCK: Final = "python-socketio"
NODE_GATEWAY: Final = "node"
KINDS: Final = (ROOMCAST, STOCK, NODE_GATEWAY)

_STOP_SECONDS: Final = 30.0
_FOREIGN: Final = re.compile(
    r"^(API|GATEWAY|WORKER|JWT|AI|OTEL|LOG)_|^(DATABASE|RABBITMQ|REDIS|JWKS)_URL$|^(DATA_DIR|CORS_ORIGINS)$"
)


@dataclass(frozen=True, slots=True)
class Profile:
    """The folder for profiles of Roomcast's gateway; `tool` is `py-spy` or `cprofile`."""

    folder: Path
    tool: str


@dataclass(frozen=True, slots=True)
class Gateway:
    """A running gateway."""

    kind: str
    port: int
    process: Process
    meter: Meter

    def feeder(self, environment: Environment) -> Feeder:
        """Returns the publisher that feeds it."""
        return environment.group_feeder if self.kind == ROOMCAST else environment.plain(self.kind)

    def collect_garbage(self) -> None:
        """Has Node give back what only waits to be collected; Python counts references."""
        if self.kind == NODE_GATEWAY:
            self.process.signal(signal.SIGUSR2)


def inherited() -> dict[str, str]:
    """Returns this process's environment without a developer's settings."""
    return {name: value for name, value in os.environ.items() if not _FOREIGN.search(name)}


def settings(kind: str, environment: Environment, port: int) -> dict[str, str]:
    """Returns the settings of every gateway."""
    return {
        **inherited(),
        "PYTHONPATH": str(ROOT),
        "RABBITMQ_URL": environment.rabbit,
        "REDIS_URL": environment.redis,
        "API_URL": environment.api,
        "GATEWAY_PORT": str(port),
        "RATE_LIMITS": "off",
        "LOG_FORMAT": "json",
        "LOG_LEVEL": "warning",
        "EXCHANGE": EXCHANGE,
        "ROUTING_KEY": kind,
        "NODE_ENV": "production",
    }


def _command(kind: str, name: str, profile: Profile | None) -> list[str]:
    match kind:
        case "roomcast" if profile is not None and profile.tool == "cprofile":
            output = str(profile.folder / f"{name}.pstats")
            return [sys.executable, "-m", "cProfile", "-o", output, "-m", "ws_gateway"]
        case "roomcast":
            return [sys.executable, "-m", "ws_gateway"]
        case "python-socketio":
            return [sys.executable, "-m", "bench.contenders.socketio_gateway"]
        case _:
            return [find_program("node", package="nodejs"), "--expose-gc", str(NODE / "gateway.mjs")]


@asynccontextmanager
async def gateway(
    kind: str,
    environment: Environment,
    *,
    name: str,
    profile: Profile | None = None,
    changes: Mapping[str, str] | None = None,
) -> AsyncIterator[Gateway]:
    """Yields a gateway for as long as the block runs; `name` tells its logs and profiles from others'."""
    port = free_port()
    process = Process(f"{kind} gateway", environment.folder / f"{name}-{port}.log")
    env = {**settings(kind, environment, port), **(changes or {})}
    process.spawn(_command(kind, name, profile), cwd=ROOT, env=env, drop_rights=False)
    try:

        async def ready() -> bool:
            return await _ready(port) if kind == ROOMCAST else "ready" in process.output

        await process.until(ready, seconds=START_SECONDS)
        with _spied(process.pid, name, profile if kind == ROOMCAST else None):
            yield Gateway(kind, port, process, Meter(process.pid))
            await process.end(signal.SIGTERM, seconds=_STOP_SECONDS)
    finally:
        process.kill()


async def _ready(port: int) -> bool:
    try:
        async with aiohttp.ClientSession() as http, http.get(f"http://127.0.0.1:{port}/readyz") as answer:
            return answer.status == 200
    except aiohttp.ClientError:
        return False


class _spied:  # noqa: N801  # reads as a statement
    """A context in which py-spy watches a process."""

    def __init__(self, pid: int, name: str, profile: Profile | None) -> None:
        self._spy: subprocess.Popen[bytes] | None = None
        if profile is None or profile.tool != "py-spy":
            return
        program = shutil.which("py-spy") or str(Path(sys.executable).parent / "py-spy")
        output = str(profile.folder / f"{name}.txt")
        options = ["--format", "raw", "--rate", "500", "--native", "--output", output]
        self._spy = subprocess.Popen(
            [program, "record", *options, "--pid", str(pid)],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    def __enter__(self) -> None: ...

    def __exit__(self, *_: object) -> None:
        if self._spy is not None:
            self._spy.wait(timeout=30)
