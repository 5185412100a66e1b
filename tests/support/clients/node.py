"""Sockets made of the official socket.io-client, all in one Node process."""

import asyncio
import itertools
import json
import shutil
from asyncio.subprocess import PIPE, Process
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, Self

from support.clients.interface import WAIT_SECONDS, Ack, RefusedError, SocketClient

HERE: Final = Path(__file__).parent
_LINE_LIMIT: Final = 16 * 1024 * 1024


class NodeDriver:
    """The Node process; `async with` starts and ends it. It ends with this process, too: its stdin does."""

    def __init__(self) -> None:
        self._calls = itertools.count(1)
        self._sockets: dict[int, NodeClient] = {}
        self._waiting: dict[int, asyncio.Future[Any]] = {}
        self._process: Process | None = None
        self._reader: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        node = shutil.which("node")
        if node is None:
            raise FileNotFoundError("node is not installed: apt-get install nodejs npm (or run `make test`)")
        await self._install()
        self._process = await asyncio.create_subprocess_exec(
            node, str(HERE / "driver.mjs"), stdin=PIPE, stdout=PIPE, limit=_LINE_LIMIT
        )
        self._reader = asyncio.create_task(self._read())
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._process is not None
        assert self._process.stdin is not None
        assert self._reader is not None
        self._process.stdin.close()
        await self._reader
        await self._process.wait()

    def add(self, client: "NodeClient") -> int:
        """Takes a socket in; answers the number that calls name it by."""
        number = next(self._calls)
        self._sockets[number] = client
        return number

    async def call(self, op: str, socket: int, **arguments: Any) -> Any:
        """Sends one request and waits for its answer."""
        assert self._process is not None
        assert self._process.stdin is not None
        call = next(self._calls)
        answer = self._waiting[call] = asyncio.get_running_loop().create_future()
        line = json.dumps({"call": call, "op": op, "socket": socket, **arguments})
        self._process.stdin.write(f"{line}\n".encode())
        try:
            async with asyncio.timeout(WAIT_SECONDS):
                return await answer
        except TimeoutError:
            raise TimeoutError(f"{op} {arguments} was not answered within {WAIT_SECONDS} s") from None
        finally:
            del self._waiting[call]

    async def _install(self) -> None:
        if (HERE / "node_modules" / "socket.io-client").exists():
            return
        npm = await asyncio.create_subprocess_exec("npm", "ci", "--no-audit", "--no-fund", cwd=HERE)
        if await npm.wait() != 0:
            raise FileNotFoundError(f"socket.io-client could not be installed: npm ci in {HERE}")

    async def _read(self) -> None:
        assert self._process is not None
        assert self._process.stdout is not None
        async for text in self._process.stdout:
            line = json.loads(text)
            if "call" in line:
                waiting = self._waiting.get(line["call"])
                if waiting is not None and not waiting.done():
                    waiting.set_result(line["answer"])
            else:
                self._sockets[line["socket"]].take(line)


class NodeClient(SocketClient):
    """One socket of the official client."""

    def __init__(self, driver: NodeDriver, transports: Sequence[str]) -> None:
        super().__init__()
        self._driver = driver
        self._transports = list(transports)
        self._number = driver.add(self)

    async def connect(
        self, url: str, *, auth: Any = None, headers: dict[str, str] | None = None, reconnection: bool = False
    ) -> None:
        options = {
            "auth": auth,
            "transports": self._transports,
            "extraHeaders": headers or {},
            "reconnection": reconnection,
        }
        answer = await self._driver.call("connect", self._number, url=url, options=options)
        if not answer["connected"]:
            raise RefusedError(answer["message"], answer["data"])

    async def emit(self, event: str, *args: Any) -> Ack:
        (answer,) = await self._driver.call("emit", self._number, event=event, args=args)
        ack: Ack = answer
        return ack

    async def close(self) -> None:
        await self._driver.call("close", self._number)

    def take(self, line: dict[str, Any]) -> None:
        """Something that the driver reports about this socket."""
        if "disconnected" in line:
            self._ended(line["disconnected"])
        elif "event" in line:
            self._arrived(line["event"], *line["args"])
        else:
            self.disconnected = None
