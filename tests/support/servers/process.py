"""A server process that ends with the test process, and its folder with it."""

import asyncio
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Final, Self

STOP_SECONDS: Final = 20.0
_POLL_SECONDS: Final = 0.05
_LOG_TAIL: Final = 4_000
_UNPRIVILEGED: Final = "nobody"
_SWEEP: Final = 'cat >/dev/null; sleep 1; rm -rf -- "$1"'
"""Runs beside the tests: its stdin ends when they do, however they do; then the folder goes."""


class MissingServerError(Exception):
    """A server program is not installed."""

    def __init__(self, program: str, package: str) -> None:
        super().__init__(f"{program} is not installed: apt-get install {package} (or run `make test`)")


class ServerFailedError(Exception):
    """A server did not start or did not stop; the message ends with its log."""


def find_program(name: str, *, package: str, also_in: Sequence[str] = ()) -> str:
    """The path of an installed program; folders that are not in a plain user's PATH are looked into too.

    Raises:
        MissingServerError: it is nowhere; the message names the Debian package.
    """
    folders = os.pathsep.join([*also_in, os.environ.get("PATH", ""), "/usr/sbin", "/usr/local/sbin"])
    found = shutil.which(name, path=folders)
    if found is None:
        raise MissingServerError(name, package)
    return found


def unprivileged() -> list[str]:
    """A command prefix that drops root's rights; empty for a plain user."""
    if os.geteuid() != 0:
        return []
    ids = pwd.getpwnam(_UNPRIVILEGED)
    return ["setpriv", f"--reuid={ids.pw_uid}", f"--regid={ids.pw_gid}", "--clear-groups"]


def _hand_over(path: Path) -> None:
    """Makes whoever runs the servers the owner of `path`."""
    if os.geteuid() == 0:
        ids = pwd.getpwnam(_UNPRIVILEGED)
        os.chown(path, ids.pw_uid, ids.pw_gid)


class Folder:
    """A temporary folder that servers without rights may write to; gone when the test process is."""

    def __init__(self, name: str) -> None:
        self.path = Path(tempfile.mkdtemp(prefix=f"roomcast-{name}-"))
        _hand_over(self.path)
        self._sweeper = subprocess.Popen(
            ["sh", "-c", _SWEEP, "sh", str(self.path)], stdin=subprocess.PIPE, start_new_session=True
        )

    def write(self, name: str, text: str) -> Path:
        """Writes a file that the server may read; answers its path."""
        path = self.path / name
        path.write_text(text)
        _hand_over(path)
        return path

    def remove(self) -> None:
        """Deletes the folder with all that is in it."""
        shutil.rmtree(self.path, ignore_errors=True)
        self._sweeper.kill()
        self._sweeper.communicate()


class Process:
    """One child process, started and ended in a bound, with its output in a file.

    Args:
        name: how messages call it.
        log: the file that its output is appended to.
        orphaned: the signal that the kernel sends it when the test process is gone.
    """

    def __init__(self, name: str, log: Path, *, orphaned: signal.Signals = signal.SIGKILL) -> None:
        self._name = name
        self._log = log
        self._orphaned = orphaned
        self._child: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """The id of the running process."""
        if self._child is None:
            raise ServerFailedError(f"{self._name} is not running")
        return self._child.pid

    @property
    def running(self) -> bool:
        """True while it was started and has not ended."""
        return self._child is not None and self._child.poll() is None

    @property
    def output(self) -> str:
        """Everything it has written so far."""
        return self._log.read_text(errors="replace") if self._log.exists() else ""

    def spawn(
        self,
        command: Sequence[str],
        *,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
        drop_rights: bool = True,
    ) -> Self:
        """Starts `command`; it leaves this process's group, so that Ctrl-C reaches the tests alone."""
        if self.running:
            raise ServerFailedError(f"{self._name} is running already")
        prefix = unprivileged() if drop_rights else []
        guard = [*(prefix or ["setpriv"]), f"--pdeathsig={self._orphaned.name.removeprefix('SIG')}"]
        with self._log.open("ab") as log:
            self._child = subprocess.Popen(
                [*guard, *command],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=None if env is None else dict(env),
                cwd=cwd or self._log.parent,
                start_new_session=True,
            )
        return self

    async def until(self, ready: Callable[[], Awaitable[bool]], *, seconds: float) -> None:
        """Waits until `ready` says so.

        Raises:
            ServerFailedError: the process ended, or was not ready within `seconds`.
        """
        deadline = asyncio.get_running_loop().time() + seconds
        while not await ready():
            if not self.running:
                raise self.failure(f"ended with {self._child and self._child.returncode}")
            if asyncio.get_running_loop().time() > deadline:
                raise self.failure(f"was not ready within {seconds} s")
            await asyncio.sleep(_POLL_SECONDS)

    async def end(self, how: signal.Signals, *, seconds: float = STOP_SECONDS) -> int | None:
        """Signals it and waits; its exit status, None when it did not run.

        Raises:
            ServerFailedError: it was still there after `seconds`; it is killed then.
        """
        if self._child is None:
            return None
        self._child.send_signal(how)
        return await self.ended(seconds=seconds)

    async def ended(self, *, seconds: float) -> int:
        """Waits until it ends by itself; its exit status.

        Raises:
            ServerFailedError: it was still there after `seconds`; it is killed then.
        """
        child = self._child
        if child is None:
            raise ServerFailedError(f"{self._name} is not running")
        deadline = asyncio.get_running_loop().time() + seconds
        while child.poll() is None:
            if asyncio.get_running_loop().time() > deadline:
                self.kill()
                raise self.failure(f"did not end within {seconds} s")
            await asyncio.sleep(_POLL_SECONDS)
        self._child = None
        return child.returncode

    def signal(self, which: signal.Signals) -> None:
        """Sends a signal to the running process, and waits for nothing."""
        os.kill(self.pid, which)

    def kill(self) -> None:
        """SIGKILL, to it and whatever it left in its session; returns when it is gone."""
        if self._child is not None:
            with_group(self._child.pid, signal.SIGKILL)
            self._child.wait()
            self._child = None

    def failure(self, what: str) -> ServerFailedError:
        """An error that says what happened, with the end of the log."""
        return ServerFailedError(f"{self._name} {what}; its log:\n{self.output[-_LOG_TAIL:]}")


def with_group(leader: int, which: signal.Signals) -> None:
    """Signals a process group that may be gone already."""
    try:
        os.killpg(leader, which)
    except ProcessLookupError:
        return


async def accepts(port: int) -> bool:
    """Returns whether something on 127.0.0.1 accepts connections on `port`."""
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        return False
    writer.close()
    await writer.wait_closed()
    return True
