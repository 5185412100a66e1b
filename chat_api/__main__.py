"""`python -m chat_api`: the API as a process of its own."""

import asyncio
from collections.abc import Callable

from redis.asyncio import Redis

from chat_api.app import serve
from chat_api.settings import ApiSettings
from shared.bus import Bus
from shared.config.start_errors import SettingsError
from shared.process.service import run_service


async def _serve(
    settings: ApiSettings, *, bus: Bus, redis: Redis, stop: asyncio.Event, started: Callable[[], None]
) -> None:
    if settings.database_url is None:
        raise SettingsError(["DATABASE_URL is not set"])
    url = settings.database_url.get_secret_value()
    await serve(settings, database_url=url, bus=bus, redis=redis, stop=stop, started=started)


def main() -> int:
    """Runs the API; returns the exit status."""
    return run_service("api", ApiSettings, _serve, needs=("database_url",))


if __name__ == "__main__":
    raise SystemExit(main())
