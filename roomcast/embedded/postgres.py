"""Runs a real PostgreSQL of one's own: the programs come in a package, the data is in a folder.

It listens on a Unix socket that only its owner reaches, and is in a session of its own: a Ctrl-C in the
terminal does not reach it, so that it outlives its clients. One that was left running, because its owner was
killed, is taken over.
"""

import asyncio
import os
import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import IO, Any, Final
from urllib.parse import quote

import structlog

from roomcast.embedded.account import Account
from roomcast.embedded.programs import postgres_programs
from shared.config.start_errors import StartError

log = structlog.get_logger()

_START_SECONDS: Final = 60
_STOP_SECONDS: Final = 30
_POLL_SECONDS: Final = 0.02
_SOCKET: Final = ".s.PGSQL.5432"
_LONGEST_SOCKET: Final = 103
_PLAIN_PATH: Final = re.compile(r"/[\w./ +@~-]*")
_STATUS_LINE: Final = 7
_SOCKET_LINE: Final = 4
_LOG_TAIL: Final = 2_000


@asynccontextmanager
async def embedded_postgres(folder: Path) -> AsyncIterator[str]:
    """Runs a PostgreSQL on `folder` while the block runs; yields its `postgresql://` address.

    Raises:
        StartError: it does not start; the text ends with what it said.
    """
    cluster = _Cluster(folder)
    starting = asyncio.ensure_future(asyncio.to_thread(cluster.start))
    try:
        yield await asyncio.shield(starting)
    finally:
        await asyncio.wait({starting})
        await asyncio.to_thread(cluster.stop)


def running_address(folder: Path) -> str | None:
    """Returns the `postgresql://` address of the PostgreSQL that runs on `folder`; None when none does.

    Raises:
        PermissionError: only its owner may know.
    """
    cluster = _Cluster(folder)
    sockets = cluster.running_sockets()
    return None if sockets is None else _address(sockets)


def _address(sockets: Path) -> str:
    return f"postgresql://postgres@/postgres?host={quote(str(sockets))}"


class _Cluster:
    """A folder with a cluster's data, and the programs that fit it. Its methods block."""

    def __init__(self, data: Path) -> None:
        self._data = data.resolve()
        self._log = self._data / "server.log"
        self._pid_file = self._data / "postmaster.pid"
        self._sockets: Path | None = None
        self._child: subprocess.Popen[bytes] | None = None
        self._account = Account.for_folder(self._data)

    def start(self) -> str:
        """Starts it, making its data first where there is none; returns its address."""
        programs = postgres_programs(self._data)
        self._account.allow_passing(self._data.parent)
        self._account.allow_passing(programs)
        self._account.allow_reading(programs.parent)
        if not self._data.exists():
            self._initialise(programs)
        sockets = self._take_over() or self._launch(programs)
        return _address(sockets)

    def running_sockets(self) -> Path | None:
        """Returns the folder of the socket of one that runs and takes connections."""
        lines = self._left_running()
        return None if lines is None or lines[_STATUS_LINE].strip() != "ready" else Path(lines[_SOCKET_LINE])

    def stop(self) -> None:
        """Ends its connections and stops it; does nothing when it does not run."""
        if self._pid_file.exists() and self._left_running() is not None:
            command = ["-D", self._data, "-m", "fast", "-w", "-t", _STOP_SECONDS, "stop"]
            self._run(postgres_programs(self._data) / "pg_ctl", *command)
        if self._child is not None:
            self._child.wait()
        if self._sockets is not None:
            shutil.rmtree(self._sockets, ignore_errors=True)

    def _initialise(self, programs: Path) -> None:
        """Makes the data in a folder aside first, so that an interruption leaves nothing half-made."""
        fresh = self._data.with_name(self._data.name + ".new")
        shutil.rmtree(fresh, ignore_errors=True)
        fresh.mkdir(mode=0o700)
        self._account.take_ownership(fresh)
        options = ["--auth=trust", "--encoding=UTF8", "--no-locale", "--username=postgres"]
        self._run(programs / "initdb", *options, "-D", fresh)
        fresh.rename(self._data)

    def _take_over(self) -> Path | None:
        """Returns the folder of the socket of one that was left running, once it takes connections."""
        deadline = time.monotonic() + _START_SECONDS
        while (lines := self._left_running()) is not None:
            if lines[_STATUS_LINE].strip() == "ready":
                log.info("postgres.taken_over", pid=int(lines[0]))
                sockets = Path(lines[_SOCKET_LINE])
                self._sockets = None if sockets == self._data else sockets
                return sockets
            if time.monotonic() > deadline:
                raise StartError(
                    f"The PostgreSQL in {self._data} neither starts nor stops (process {lines[0]})."
                )
            time.sleep(_POLL_SECONDS)
        return None

    def _left_running(self) -> list[str] | None:
        """Returns the lines of its pid file while the process in it is a PostgreSQL on this data."""
        try:
            lines = self._pid_file.read_text().splitlines()
        except FileNotFoundError:
            return None
        lines += [""] * (_STATUS_LINE + 1 - len(lines))
        return lines if lines[0].isdigit() and str(self._data) in _command_of(int(lines[0])) else None

    def _launch(self, programs: Path) -> Path:
        # Not by pg_ctl, which goes through a shell and does not quote every path.
        # The pid in a file left behind may by now be another program's; PostgreSQL would believe it its own.
        self._pid_file.unlink(missing_ok=True)
        sockets = self._socket_folder()
        settings = {"listen_addresses": "", "unix_socket_directories": str(sockets)}
        options = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
        with self._log.open("wb") as output:
            command = [str(programs / "postgres"), "-D", str(self._data), *options]
            self._child = subprocess.Popen(command, **self._process_options(output))  # noqa: S603  # see _run
        self._await_ready(self._child)
        return sockets

    def _await_ready(self, child: "subprocess.Popen[bytes]") -> None:
        deadline = time.monotonic() + _START_SECONDS
        while (lines := self._left_running()) is None or lines[_STATUS_LINE].strip() != "ready":
            if child.poll() is not None or time.monotonic() > deadline:
                raise StartError(f"The embedded PostgreSQL does not start: {self._said_last(self._log)}")
            time.sleep(_POLL_SECONDS)

    def _socket_folder(self) -> Path:
        """Returns the data folder; a temporary one when that path is too long or has special characters."""
        if len(os.fsencode(self._data / _SOCKET)) <= _LONGEST_SOCKET and _PLAIN_PATH.fullmatch(
            str(self._data)
        ):
            return self._data
        self._sockets = Path(tempfile.mkdtemp(prefix="roomcast-"))
        self._account.take_ownership(self._sockets)
        return self._sockets

    def _run(self, program: Path, *arguments: object) -> None:
        with tempfile.NamedTemporaryFile() as output:
            command = [str(program), *map(str, arguments)]
            # A program of the package, arguments of our own, no shell.
            done = subprocess.run(command, check=False, **self._process_options(output))  # noqa: S603
            if done.returncode != 0:
                said = self._said_last(Path(output.name))
                raise StartError(f"The embedded PostgreSQL's {program.name} failed: {said}")

    def _process_options(self, output: IO[bytes]) -> dict[str, Any]:
        """Returns the options to start a program with: the account's rights, a session of its own."""
        return {
            "stdin": subprocess.DEVNULL,
            "stdout": output,
            "stderr": subprocess.STDOUT,
            "cwd": "/",
            "env": {**os.environ, "LC_ALL": "C"},
            "start_new_session": True,
            **self._account.process_options,
        }

    def _said_last(self, output: Path) -> str:
        return output.read_text(errors="replace").strip()[-_LOG_TAIL:]


def _command_of(pid: int) -> str:
    """Returns the command line of a process; "" when there is none."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    except OSError:
        if Path("/proc/self").exists():
            return ""
    command = ["ps", "-ww", "-o", "command=", "-p", str(pid)]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout  # noqa: S603  # no shell
