"""A private Redis that keeps nothing."""

import asyncio
import signal
from typing import Final

from support.servers.ports import free_port
from support.servers.process import Folder, Process, find_program

_START_SECONDS: Final = 10.0


class RedisServer:
    """redis-server on a port of its own; a restart comes up empty, on the same port."""

    def __init__(self) -> None:
        self.port = free_port()
        self._folder = Folder("redis")
        self._process = Process("redis-server", self._folder.path / "redis.log", orphaned=signal.SIGTERM)

    @property
    def url(self) -> str:
        """`redis://127.0.0.1:<port>/0`."""
        return f"redis://127.0.0.1:{self.port}/0"

    @property
    def pid(self) -> int:
        """The id of the process that was started."""
        return self._process.pid

    async def start(self) -> None:
        """Returns when it answers PING."""
        program = find_program("redis-server", package="redis-server")
        options = {
            "--port": str(self.port),
            "--bind": "127.0.0.1",
            "--dir": str(self._folder.path),
            "--save": "",
            "--appendonly": "no",
        }
        self._process.spawn([program, *(word for option in options.items() for word in option)])
        await self._process.until(self._answers, seconds=_START_SECONDS)

    async def stop(self) -> None:
        """Ends it in good order; what it held is lost."""
        await self._process.end(signal.SIGTERM)

    async def kill(self) -> None:
        """SIGKILL."""
        self._process.kill()

    async def remove(self) -> None:
        """Stops it for good and deletes its folder."""
        self._process.kill()
        self._folder.remove()

    async def _answers(self) -> bool:
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        except OSError:
            return False
        writer.write(b"PING\r\n")
        answer = await reader.readline()
        writer.close()
        await writer.wait_closed()
        return answer == b"+PONG\r\n"
