"""Reads what a process has used, as the kernel counts it."""

import os
import time
from contextlib import suppress
from pathlib import Path
from typing import Final

_TICK: Final = os.sysconf("SC_CLK_TCK")
_PAGE: Final = os.sysconf("SC_PAGE_SIZE")
_CHILDREN_TIMES: Final = slice(13, 15)


class Meter:
    """The CPU time and memory of a process with its descendants. All threads count."""

    def __init__(self, pid: int) -> None:
        self.pid = pid

    def cpu(self) -> float:
        """Returns seconds of CPU so far, user and system together.

        From the kernel's CPU clock of the process (what utime + stime of /proc/<pid>/stat are, in
        nanoseconds instead of ticks of 10 ms), and what its ended children have used.
        """
        while True:
            # One of them may end meanwhile; its time is its parent's then.
            with suppress(ProcessLookupError, FileNotFoundError):
                return sum(_clock(pid) + _ended_children(pid) for pid in self._tree())
            if not Path(f"/proc/{self.pid}").exists():
                raise ProcessLookupError(f"the process {self.pid} has ended")

    def rss(self) -> int:
        """Returns resident bytes."""
        return sum(int(_proc(pid, "statm").split()[1]) * _PAGE for pid in self._tree())

    def _tree(self) -> list[int]:
        pids = [self.pid]
        for pid in pids:
            for task in Path(f"/proc/{pid}/task").iterdir():
                pids += map(int, (task / "children").read_text().split())
        return pids


def _clock(pid: int) -> float:
    # clock_getcpuclockid(3) makes the id of a process's CPU clock so.
    return time.clock_gettime((~pid << 3) | 2)


def ticks(pid: int) -> float:
    """Returns seconds of utime + stime in /proc/<pid>/stat, without children; in steps of 10 ms."""
    user, system = _stat(pid)[11:13]
    return (int(user) + int(system)) / _TICK


def _ended_children(pid: int) -> float:
    return sum(map(int, _stat(pid)[_CHILDREN_TIMES])) / _TICK


def _stat(pid: int) -> list[str]:
    """Returns the fields of /proc/<pid>/stat from the third on, which follow the name."""
    return _proc(pid, "stat").rpartition(") ")[2].split()


def _proc(pid: int, name: str) -> str:
    return Path(f"/proc/{pid}/{name}").read_text()
