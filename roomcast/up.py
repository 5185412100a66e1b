"""`roomcast up`: all three services in this process, on embedded parts where no real ones are configured."""

import asyncio
from collections.abc import Awaitable, Callable

import structlog
from redis.asyncio import Redis

from ai_worker.app import serve as serve_worker
from ai_worker.settings import WorkerSettings
from chat_api.app import serve as serve_api
from chat_api.migrations import is_current, upgrade
from chat_api.settings import ApiSettings
from roomcast import banner, demo, embedded
from shared import logs, telemetry
from shared.addresses import base_url, is_loopback
from shared.bus import Bus
from shared.process import refused
from shared.runtime import run
from shared.settings import SettingsError
from ws_gateway.app import serve as serve_gateway
from ws_gateway.settings import GatewaySettings

log = structlog.get_logger()


class UpSettings(ApiSettings, GatewaySettings, WorkerSettings):
    """What all three services read."""

    @property
    def may_have_demo_logins(self) -> bool:
        """Whether logins that everybody knows harm nobody: nothing but this machine reaches them."""
        return self.database_url is None and is_loopback(self.api_host)


def main(*, with_demo: bool) -> int:
    """Runs everything until it is told to stop; gives the exit status of the process."""
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
            await _serve_all(settings, database_url, bus, redis, stop, with_demo=with_demo)
    log.info("up.stopped")


async def _serve_all(
    settings: UpSettings,
    database_url: str,
    bus: Bus,
    redis: Redis,
    stop: asyncio.Event,
    *,
    with_demo: bool,
) -> None:
    """Serves until `stop` is set; greets once all three listen."""
    listening = _Countdown(3)

    def api(started: Callable[[], None]) -> Awaitable[None]:
        return serve_api(
            settings, database_url=database_url, bus=bus, redis=redis, stop=stop, started=started
        )

    def gateway(started: Callable[[], None]) -> Awaitable[None]:
        return serve_gateway(settings, bus=bus, redis=redis, stop=stop, started=started)

    def worker(started: Callable[[], None]) -> Awaitable[None]:
        return serve_worker(settings, bus=bus, redis=redis, stop=stop, started=started)

    async with asyncio.TaskGroup() as group:
        for name, serve in (("api", api), ("gateway", gateway), ("worker", worker)):
            group.create_task(_named(name, serve(listening.one)), name=name)
        greeting = group.create_task(
            _greet(settings, listening.reached, with_demo=with_demo), name="greeting"
        )
        await stop.wait()
        greeting.cancel()


async def _named(name: str, service: Awaitable[None]) -> None:
    logs.speak_for(name)
    await service


async def _greet(settings: UpSettings, listening: asyncio.Event, *, with_demo: bool) -> None:
    await listening.wait()
    made = await demo.seed(base_url(settings.api_host, settings.api_port)) if with_demo else None
    banner.show(settings, made)


class _Countdown:
    """Sets `reached` once `one` was called so many times."""

    def __init__(self, number: int) -> None:
        self._left = number
        self.reached = asyncio.Event()

    def one(self) -> None:
        self._left -= 1
        if self._left == 0:
            self.reached.set()
