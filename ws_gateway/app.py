"""Serves sockets: the gateway's composition root."""

import asyncio
import re
import secrets
import socket as hosts
from collections.abc import Callable, Coroutine
from typing import Any, Final

import aiohttp
import structlog
from redis.asyncio import Redis

from shared.bus import Bus, BusUnavailableError
from shared.concurrency.background import background
from shared.concurrency.waiting import wait_for_event
from shared.http.cors import Origins
from shared.http.health import Check
from shared.http.server import http_server
from ws_gateway.assembly import (
    ClientParts,
    Resources,
    RoomParts,
    build_clients,
    build_listener,
    build_relay,
    build_rooms,
)
from ws_gateway.limits import Limits
from ws_gateway.rooms.chat_state import CONNECTIONS
from ws_gateway.rooms.relay import Relay
from ws_gateway.settings import GatewaySettings

log = structlog.get_logger()

SESSIONS_SECONDS: Final = 2.0
"""How long the start waits to hear which sessions have ended."""
IDLE_SECONDS: Final = 75.0
"""How long a connection is kept on which no next request comes; longer than a proxy in front keeps it."""
RECANCEL_SECONDS: Final = 0.5
"""What runs beside the server loses nothing when it is cancelled again so soon."""
SETTLE_SECONDS: Final = 1.0
"""How long the end waits until others know that its users are gone."""


async def serve(
    settings: GatewaySettings,
    *,
    bus: Bus,
    redis: Redis,
    stop: asyncio.Event,
    started: Callable[[], None],
    limits: Limits | None = None,
) -> None:
    """Serves sockets until `stop` is set, then lets them go and returns; calls `started` once it listens."""
    async with (
        asyncio.TaskGroup() as tasks,
        aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=CONNECTIONS)) as http,
    ):
        resources = Resources(
            instance=_instance_name(),
            settings=settings,
            limits=limits or Limits.of(settings),
            bus=bus,
            redis=redis,
            http=http,
            tasks=tasks,
        )
        origins = Origins(settings.allowed_origins)
        rooms = build_rooms(resources)
        clients = build_clients(resources, rooms, origins)
        relay = build_relay(resources, rooms, clients)
        listener = build_listener(resources, clients, origins)
        async with (
            background(tasks, *_beside(rooms, clients), grace=RECANCEL_SECONDS),
            rooms.leases,
            background(tasks, bus.consume_gateway(resources.instance, relay), grace=RECANCEL_SECONDS),
        ):
            await wait_for_event(clients.sessions.loaded, seconds=SESSIONS_SECONDS)
            async with http_server(
                listener.application(_checks(bus, rooms, clients, relay)),
                settings.gateway_host,
                settings.gateway_port,
                variables="GATEWAY",
                entrance=listener.entrance,
                idle=IDLE_SECONDS,
            ):
                log.info("gateway.listening", instance=resources.instance, port=settings.gateway_port)
                started()
                await stop.wait()
                await clients.drain.run()
            await _settle(rooms)


def _instance_name() -> str:
    """Returns a name that no other gateway has or had, and that tells an operator where it runs."""
    host = re.sub(r"[^a-z0-9-]", "-", hosts.gethostname().lower())[:32]
    return f"{host}-{secrets.token_hex(4)}"


def _beside(rooms: RoomParts, clients: ClientParts) -> tuple[Coroutine[Any, Any, None], ...]:
    """Returns what runs beside the server, to be ended with it."""
    return (
        clients.keys.run(),
        clients.sessions.run(),
        rooms.presence.run(),
        rooms.dead_gateways.run(),
        rooms.announcer.run(),
        rooms.recheck.run(),
    )


async def _settle(rooms: RoomParts) -> None:
    """Lets others know that this gateway's users are gone."""
    await wait_for_event(rooms.presence.settled, seconds=SETTLE_SECONDS)
    await rooms.presence.withdraw()
    await wait_for_event(rooms.announcer.settled, seconds=SETTLE_SECONDS)


def _checks(bus: Bus, rooms: RoomParts, clients: ClientParts, relay: Relay) -> dict[str, Check]:
    """Returns the checks of readiness, by what they are called in the answer."""

    async def rabbitmq() -> None:
        await bus.ping()
        if not relay.linked_now:
            raise BusUnavailableError("the gateway's queue is not being consumed")

    async def draining() -> None:
        if clients.drain.started:
            raise _DrainingError

    return {
        "rabbitmq": rabbitmq,
        "redis": rooms.leases.ping,
        "jwks": clients.keys.ping,
        "draining": draining,
    }


class _DrainingError(Exception):
    """This gateway is about to stop."""
