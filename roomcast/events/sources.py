"""Finds the events: the database and the broker of the settings, or the database of a running `up`."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import Final

import asyncpg
from pydantic import SecretStr

from chat_api.database.connections import DATABASE_ERRORS, connect
from chat_api.settings import ApiSettings
from roomcast.embedded.postgres import running_address
from shared.bus import BusUnavailableError
from shared.config.start_errors import SettingsError, StartError
from shared.process.runtime import refused, run
from shared.telemetry import logs

STATEMENT_SECONDS: Final = 300.0
"""A look through a large store may take its time; Ctrl-C ends it."""

_NO_DATABASE: Final = (
    "DATABASE_URL is not set, and no `roomcast up` with an embedded database runs on DATA_DIR={}: "
    "set DATABASE_URL to a URL like postgresql://user:password@host:5432/database, or DATA_DIR to the folder "
    "of one that runs"
)
_NO_BROKER: Final = (
    "RABBITMQ_URL is not set: set it to a URL like amqp://user:password@host:5672/ "
    "(`roomcast up` without it keeps its bus and its dead letters within its own process, where no other "
    "program reaches them; its log tells of each dead letter)"
)


class FailedError(StartError):
    """A command that did not do all that was asked for; the text says what."""


class NoTablesError(FailedError):
    """The database has no events yet: `roomcast migrate` makes its tables."""

    def __init__(self) -> None:
        super().__init__(self.__doc__)


class Sources:
    """The addresses of database and broker, each read when it is needed."""

    def __init__(self) -> None:
        self._settings = ApiSettings.load()
        logs.configure("events", as_json=self._settings.log_format == "json", level="error")

    @property
    def database_url(self) -> str:
        """Returns the database's address.

        Raises:
            SettingsError: there is none.
        """
        if self._settings.database_url is not None:
            return self._settings.database_url.get_secret_value()
        folder = self._settings.data_dir
        with suppress(PermissionError):
            if (found := running_address(folder / "postgres")) is not None:
                return found
        raise SettingsError([_NO_DATABASE.format(folder)])

    @property
    def rabbitmq_url(self) -> SecretStr:
        """Returns the broker's address.

        Raises:
            SettingsError: there is none.
        """
        if self._settings.rabbitmq_url is None:
            raise SettingsError([_NO_BROKER])
        return self._settings.rabbitmq_url

    @asynccontextmanager
    async def database(self) -> AsyncIterator[asyncpg.Connection]:
        """Returns a connection to the database.

        Raises:
            FailedError: it does not answer.
        """
        url = self.database_url
        try:
            connection = await connect(url, seconds=STATEMENT_SECONDS)
            try:
                yield connection
            finally:
                connection.terminate()
        except BrokenPipeError:
            raise  # of stdout
        except asyncpg.UndefinedTableError:
            raise NoTablesError from None
        except DATABASE_ERRORS as error:
            raise FailedError(f"The database does not answer: {error!r}") from error


def run_command(command: Callable[[Sources], Awaitable[None]]) -> int:
    """Runs a command to its end, or until Ctrl-C; returns the exit status."""

    async def main(stop: asyncio.Event) -> None:
        running = asyncio.ensure_future(_told(command(sources)))
        stopped = asyncio.ensure_future(stop.wait())
        await asyncio.wait({running, stopped}, return_when=asyncio.FIRST_COMPLETED)
        stopped.cancel()
        if not running.done():
            running.cancel()
        with suppress(asyncio.CancelledError):
            await running

    try:
        sources = Sources()
        return run(main)
    except SettingsError as error:
        return refused(error)
    finally:
        # The process ends: a Ctrl-C that comes twice at once, as some programs send it, says nothing more.
        signal.signal(signal.SIGINT, signal.SIG_IGN)


async def _told(command: Awaitable[None]) -> None:
    try:
        await command
        sys.stdout.flush()
    except BusUnavailableError as error:
        raise FailedError(str(error)) from error
    except BrokenPipeError:
        # Whoever read has had enough. Nothing more can be written, at the end of the process either.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
