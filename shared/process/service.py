"""A service as a process of its own, on a real RabbitMQ and a real Redis."""

import asyncio
from collections.abc import Callable
from typing import Final, Protocol, TypeVar

import structlog
from redis.asyncio import Redis

from shared.bus import Bus
from shared.config.settings import Settings
from shared.config.start_errors import SettingsError
from shared.process.links import rabbit_link, redis_link
from shared.process.runtime import refused, run
from shared.telemetry import setup as telemetry

log = structlog.get_logger()

NEEDED_LINKS: Final = ("rabbitmq_url", "redis_url")
"""What a service on its own cannot do without."""

OwnSettings = TypeVar("OwnSettings", bound=Settings)
TakenSettings_contra = TypeVar("TakenSettings_contra", bound=Settings, contravariant=True)


class Serve(Protocol[TakenSettings_contra]):
    """A service's composition root."""

    async def __call__(
        self,
        settings: TakenSettings_contra,
        /,
        *,
        bus: Bus,
        redis: Redis,
        stop: asyncio.Event,
        started: Callable[[], None],
    ) -> None:
        """Serves until `stop` is set and returns when drained; calls `started` once it listens."""


def run_service(
    name: str, settings_type: type[OwnSettings], serve: Serve[OwnSettings], *, needs: tuple[str, ...] = ()
) -> int:
    """Runs one service until it is told to stop; gives the exit status of the process.

    `needs` are settings that it cannot do without, beside `NEEDED_LINKS`.
    """
    try:
        settings = settings_type.load(needs=(*NEEDED_LINKS, *needs))
    except SettingsError as error:
        return refused(error)
    telemetry.configure(name, settings)
    return run(lambda stop: _serve_linked(name, settings, serve, stop))


async def _serve_linked(
    name: str, settings: OwnSettings, serve: Serve[OwnSettings], stop: asyncio.Event
) -> None:
    if settings.rabbitmq_url is None or settings.redis_url is None:
        raise SettingsError([f"{each.upper()} is not set" for each in NEEDED_LINKS])
    async with (
        rabbit_link(settings.rabbitmq_url, service=name) as bus,
        redis_link(settings.redis_url) as redis,
    ):
        await serve(settings, bus=bus, redis=redis, stop=stop, started=lambda: log.info("service.started"))
    log.info("service.stopped")
