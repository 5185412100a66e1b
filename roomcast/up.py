"""Runs all three services in this process, on embedded parts where no real ones are configured."""

import asyncio
from collections.abc import Awaitable
from dataclasses import dataclass

import aiohttp
import structlog
from redis.asyncio import Redis

from ai_worker.app import serve as serve_worker
from ai_worker.settings import WorkerSettings
from chat_api.app import serve as serve_api
from chat_api.database.connections import connect
from chat_api.migrations import is_current, upgrade
from chat_api.replies.outcomes import request_unfinished
from chat_api.settings import ApiSettings
from roomcast import banner, demo
from roomcast.embedded import parts as embedded
from shared.bus import Bus
from shared.concurrency.backoff import backoff
from shared.config.addresses import base_url, is_loopback
from shared.config.start_errors import SettingsError
from shared.process.runtime import refused, run
from shared.telemetry import logs
from shared.telemetry import setup as telemetry
from ws_gateway.app import serve as serve_gateway
from ws_gateway.settings import GatewaySettings

log = structlog.get_logger()


class UpSettings(ApiSettings, GatewaySettings, WorkerSettings):
    """The settings of all three services."""

    @property
    def may_have_demo_logins(self) -> bool:
        """Returns whether logins that everybody knows harm nobody: only this machine reaches them."""
        return self.database_url is None and is_loopback(self.api_host)


@dataclass(frozen=True, slots=True)
class _Parts:
    """The parts that the services run on."""

    settings: UpSettings
    database_url: str
    bus: Bus
    redis: Redis


def main(*, with_demo: bool) -> int:
    """Runs everything until it is told to stop; returns the exit status of the process."""
    try:
        settings = UpSettings.load()
    except SettingsError as error:
        return refused(error)
    telemetry.configure("up", settings)
    return run(lambda stop: _up(settings, stop, with_demo=with_demo and settings.may_have_demo_logins))


async def _up(settings: UpSettings, stop: asyncio.Event, *, with_demo: bool) -> None:
    with embedded.own_folder(settings.data_dir):
        async with (
            embedded.database(settings.database_url, settings.data_dir) as database_url,
            embedded.bus(settings.rabbitmq_url) as bus,
            embedded.store(settings.redis_url) as redis,
        ):
            if not await is_current(database_url):
                await upgrade(database_url)
            if settings.rabbitmq_url is None:
                await _ask_again(database_url)
            parts = _Parts(settings, database_url, bus, redis)
            await _serve_all(parts, stop, with_demo=with_demo)
    log.info("up.stopped")


async def _ask_again(database_url: str) -> None:
    """Has the replies written that an earlier process was writing: its bus forgot the requests."""
    connection = await connect(database_url)
    try:
        asked = await request_unfinished(connection)
    finally:
        await connection.close()
    if asked:
        log.info("up.asked_again", replies=asked)


async def _serve_all(parts: _Parts, stop: asyncio.Event, *, with_demo: bool) -> None:
    """Serves until `stop` is set.

    The API is there first, because the gateway gets its keys from it, and last, because the worker's replies
    end up in it.
    """
    settings, listens, leave = parts.settings, asyncio.Event(), asyncio.Event()
    async with asyncio.TaskGroup() as group:
        api = serve_api(
            settings,
            database_url=parts.database_url,
            bus=parts.bus,
            redis=parts.redis,
            stop=leave,
            started=listens.set,
        )
        group.create_task(_named("api", api))
        try:
            await listens.wait()
            await _serve_sockets_and_replies(parts, stop, with_demo=with_demo)
        finally:
            leave.set()


async def _serve_sockets_and_replies(parts: _Parts, stop: asyncio.Event, *, with_demo: bool) -> None:
    settings, bus, redis = parts.settings, parts.bus, parts.redis
    gateway, worker = asyncio.Event(), asyncio.Event()

    async def greet() -> None:
        await gateway.wait()
        await worker.wait()
        await _until_ready(settings)
        made = await demo.seed(base_url(settings.api_host, settings.api_port)) if with_demo else None
        banner.show(settings, made)

    async with asyncio.TaskGroup() as group:
        for name, service in (
            ("gateway", serve_gateway(settings, bus=bus, redis=redis, stop=stop, started=gateway.set)),
            ("worker", serve_worker(settings, bus=bus, redis=redis, stop=stop, started=worker.set)),
        ):
            group.create_task(_named(name, service))
        greeting = group.create_task(greet())
        await stop.wait()
        greeting.cancel()


async def _named(name: str, service: Awaitable[None]) -> None:
    logs.bind_service(name)
    await service


async def _until_ready(settings: UpSettings) -> None:
    """Returns when every service says that what it depends on answers; a real server may take its time."""
    addresses = (
        (settings.api_host, settings.api_port),
        (settings.gateway_host, settings.gateway_port),
        (settings.worker_host, settings.worker_port),
    )
    async with aiohttp.ClientSession() as http:
        for host, port in addresses:
            for pause in backoff(0.05, 1.0):
                async with http.get(f"{base_url(host, port)}/readyz") as response:
                    if response.ok:
                        break
                await asyncio.sleep(pause)
