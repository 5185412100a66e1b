"""The program `roomcast` as a person starts it: in a folder, with these variables, its output read."""

import asyncio
import os
import re
import shlex
import signal
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from support.servers.ports import free_port

ROOT: Final = Path(__file__).parents[2]
ROOMCAST: Final = ["-c", "import sys; sys.argv[0] = 'roomcast'; from roomcast.cli import main; main()"]
SECONDS: Final = 30.0
_SETTING: Final = re.compile(
    r"^(API|GATEWAY|WORKER|JWT|AI|OTEL|LOG|ACCESS|REFRESH)_|^(DATABASE|RABBITMQ|REDIS|JWKS)_URL$|^(DATA_DIR|CORS_ORIGINS|RATE_LIMITS)$"
)


def environment(**variables: str) -> dict[str, str]:
    """This process's environment without the developer's settings, with `variables`."""
    inherited = {name: value for name, value in os.environ.items() if not _SETTING.search(name)}
    return {**inherited, "PYTHONPATH": str(ROOT), **variables}


@dataclass(frozen=True, slots=True)
class Ended:
    """The end of a program: its status, and what it said."""

    status: int
    output: str
    errors: str


async def roomcast(*arguments: str, cwd: Path, program: Sequence[str] = ROOMCAST, **variables: str) -> Ended:
    """Runs the program to its end."""
    running = await asyncio.create_subprocess_exec(
        sys.executable,
        *program,
        *arguments,
        cwd=cwd,
        env=environment(**variables),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(SECONDS):
            output, errors = await running.communicate()
    finally:
        if running.returncode is None:
            running.kill()
            await running.wait()
    return Ended(running.returncode or 0, output.decode(), errors.decode())


@dataclass(slots=True)
class Up:
    """A `roomcast up` that runs.

    Attributes:
        folder: where it was started.
        ports: its API's, gateway's and worker's.
        banner: the lines that it printed once it was ready, by their names; the last one of each.
    """

    process: asyncio.subprocess.Process
    folder: Path
    ports: Mapping[str, str]
    errors_file: Path
    banner: dict[str, str] = field(default_factory=dict)

    @property
    def data(self) -> Path:
        """Its data folder."""
        return self.folder / ".roomcast"

    @property
    def errors(self) -> str:
        """Reads what it logged so far."""
        return self.errors_file.read_text()

    @property
    def postgres(self) -> int | None:
        """The process id of its PostgreSQL, while that runs."""
        try:
            return int((self.data / "postgres" / "postmaster.pid").read_text().split()[0])
        except FileNotFoundError:
            return None

    async def ready(self) -> None:
        """Returns when it has printed its banner."""
        assert self.process.stdout is not None
        async with asyncio.timeout(SECONDS):
            while line := (await self.process.stdout.readline()).decode():
                name, _, value = line.strip().partition("  ")
                if value:
                    self.banner[name] = value.strip()
                elif self.banner:
                    return
        raise AssertionError(f"it ended without a banner:\n{self.errors}")

    async def ended(self) -> int:
        """Its exit status, once it has ended."""
        async with asyncio.timeout(SECONDS):
            return await self.process.wait()

    async def stop(self, how: signal.Signals = signal.SIGINT) -> int:
        """Signals it and all that it started in its group, as Ctrl-C does; its exit status."""
        os.killpg(self.process.pid, how)
        return await self.ended()


@asynccontextmanager
async def up(folder: Path, *arguments: str, **variables: str) -> AsyncIterator[Up]:
    """Starts `roomcast up` in `folder`; whatever is left of it goes with the block."""
    names = ("API_PORT", "GATEWAY_PORT", "WORKER_PORT")
    ports = {name: variables.get(name) or str(free_port()) for name in names}
    errors_file = folder / f"errors-{ports['API_PORT']}"
    with errors_file.open("wb") as errors:
        process = await asyncio.create_subprocess_exec(
            "setpriv",
            "--pdeathsig=TERM",  # it is not in the group of the tests, which Ctrl-C ends
            sys.executable,
            *ROOMCAST,
            "up",
            *arguments,
            cwd=folder,
            env=environment(**{**ports, **variables}),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=errors,
            start_new_session=True,
        )
    running = Up(process, folder, ports, errors_file)
    try:
        yield running
    finally:
        if process.returncode is None:
            await running.stop(signal.SIGTERM)


async def shell(line: str, *, cwd: Path, typed: str = "") -> str:
    """Runs a line as if pasted into bash, and returns what it prints; `roomcast` in it is this program."""
    command = shlex.join([sys.executable, *ROOMCAST])
    running = await asyncio.create_subprocess_exec(
        "bash",
        "-c",
        re.sub(r"^\S*roomcast ", lambda _: f"{command} ", line),
        cwd=cwd,
        env=environment(),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    async with asyncio.timeout(SECONDS):
        output, _ = await running.communicate(typed.encode())
    return output.decode()
