"""A gateway in a process of its own on real servers, with an API that a test scripts; and what it uses."""

import gc
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final

import psutil  # type: ignore[import-untyped]  # it has no types of its own
from support.gateways import ScriptedApi, eventually
from support.servers.ports import free_port
from support.servers.process import Folder, Process
from support.stack import ROOT, START_SECONDS, Service

from shared.bus import Bus, Routed
from shared.events import Event

PING: Final = "AsyncSocket._send_ping"
"""Sleeps for up to 25 s after its connection has ended: it is not counted."""
SERVING: Final = "RequestHandler.start"
"""aiohttp's task for an HTTP connection."""
MIB: Final = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Usage:
    """The usage of a process: resident bytes, tasks, open files, sockets, HTTP connections.

    The latter are for their clients to keep; each is a task and a file, which are not counted among these.
    """

    memory: int
    tasks: int
    files: int
    sockets: int
    connections: int

    def __str__(self) -> str:
        return (
            f"{self.memory / MIB:.1f} MiB, {self.tasks} tasks, {self.files} files, {self.sockets} sockets, "
            f"{self.connections} HTTP connections"
        )


async def usage(service: Service) -> Usage:
    """Measures what a gateway uses now."""
    process = psutil.Process(service.process.pid)
    tasks = await service.metric("roomcast_tasks")
    pings = await service.metric("roomcast_tasks", coroutine=PING)
    connections = int(await service.metric("roomcast_tasks", coroutine=SERVING))
    return Usage(
        memory=int(process.memory_info().rss),
        tasks=int(tasks - pings) - connections,
        files=int(process.num_fds()) - connections,
        sockets=int(await service.metric("roomcast_gateway_sockets")),
        connections=connections,
    )


async def settled(service: Service, *, sockets: int, seconds: float = 20.0) -> Usage:
    """Measures what it uses once no more than `sockets` are left, and no connection beside theirs."""

    async def gone() -> bool:
        return (
            await service.metric("roomcast_gateway_sockets") <= sockets
            and await service.metric("roomcast_gateway_connections") <= sockets
        )

    await eventually(gone, is_=True, seconds=seconds)
    return await usage(service)


@asynccontextmanager
async def gateway_process(
    api: ScriptedApi, *, rabbitmq: str, redis: str, **settings: str
) -> AsyncIterator[Service]:
    """A gateway that is ready; it is not measured for coverage, which would be what is measured here."""
    folder = Folder("endurance")
    port = free_port()
    process = Process("gateway", folder.path / "gateway.log")
    env = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("GATEWAY_", "JWT_", "CORS_", "TRUSTED_"))
    }
    env |= {
        "PYTHONPATH": str(ROOT),
        "API_URL": api.url,
        "RABBITMQ_URL": rabbitmq,
        "REDIS_URL": redis,
        "GATEWAY_PORT": str(port),
        "RATE_LIMITS": "off",
        "LOG_LEVEL": "warning",
        "LOG_FORMAT": "json",
        **settings,
    }
    process.spawn([sys.executable, "-m", "ws_gateway"], env=env, drop_rights=False)
    service = Service("gateway", f"http://127.0.0.1:{port}", process)
    try:
        await service.until("/readyz", 200, seconds=START_SECONDS)
        yield service
    finally:
        process.kill()
        folder.remove()
        gc.collect()


async def publish(bus: Bus, *events: Event) -> None:
    """Publishes events to all gateways."""
    await bus.publish([Routed(event, None) for event in events])
