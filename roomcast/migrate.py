"""Migrates: brings the database to the schema that this version works with."""

import asyncpg
import structlog

from chat_api.migrations import is_current, upgrade
from chat_api.settings import ApiSettings
from shared.config.start_errors import SettingsError, StartError
from shared.process.runtime import refused, run
from shared.telemetry import setup as telemetry

log = structlog.get_logger()


def main() -> int:
    """Migrates; returns the exit status."""
    try:
        settings = ApiSettings.load(needs=["database_url"])
    except SettingsError as error:
        return refused(error)
    telemetry.configure("migrate", settings)
    url = "" if settings.database_url is None else settings.database_url.get_secret_value()
    return run(lambda _: _migrate(url))


async def _migrate(url: str) -> None:
    try:
        if await is_current(url):
            log.info("schema.current")
            return
        await upgrade(url)
    except (
        OSError,
        asyncpg.PostgresConnectionError,
        asyncpg.InvalidAuthorizationSpecificationError,
    ) as error:
        raise StartError(f"The database of DATABASE_URL does not answer: {error}") from error
    log.info("schema.upgraded")
