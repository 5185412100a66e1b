"""Roomcast as it runs for real, in either shape: separate processes, or `roomcast up`.

Both have the same interface, so that one test runs over both. Processes run in a temporary folder with the
settings given here alone; nothing of the developer's `.env` or environment reaches them.
"""

import os
import re
import signal
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Final, Literal, Self

import aiohttp
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from support.servers.ports import free_port
from support.servers.process import Folder, Process

ROOT: Final = Path(__file__).parents[2]
COMMAND: Final = ["-c", "from roomcast.cli import main; main()"]
START_SECONDS: Final = 40.0
STOP_SECONDS: Final = 30.0
_SAMPLE: Final = re.compile(r"^(?P<name>[a-zA-Z_:][\w:]*)(?P<labels>\{.*\})? (?P<value>\S+)")
_FOREIGN: Final = re.compile(r"^(API|GATEWAY|WORKER|JWT|AI|OTEL|LOG)_|^(DATABASE|RABBITMQ|REDIS|JWKS)_URL$")

Kind = Literal["api", "gateway", "worker"]
MODULES: Final[dict[Kind, str]] = {"api": "chat_api", "gateway": "ws_gateway", "worker": "ai_worker"}


@dataclass(frozen=True, slots=True)
class Service:
    """One service that runs, in a process of its own or with others."""

    kind: Kind
    url: str
    process: Process

    async def metric(self, name: str, **labels: str) -> float:
        """The sum of a metric's samples that carry `labels`; 0 when there are none yet."""
        async with aiohttp.ClientSession() as http, http.get(f"{self.url}/metrics") as response:
            lines = (await response.text()).splitlines()
        wanted = [f'{label}="{value}"' for label, value in labels.items()]
        samples = (found for line in lines if (found := _SAMPLE.match(line)) and found["name"] == name)
        return sum(
            float(sample["value"])
            for sample in samples
            if all(label in (sample["labels"] or "") for label in wanted)
        )

    async def until(self, path: str, status: int, *, seconds: float) -> None:
        """Waits until a GET of `path` has this status."""

        async def so() -> bool:
            return await self.status(path) == status

        await self.process.until(so, seconds=seconds)

    async def status(self, path: str) -> int:
        """The status of a GET; 0 when nothing answers."""
        bound = aiohttp.ClientTimeout(total=5)
        try:
            async with aiohttp.ClientSession(timeout=bound) as http, http.get(self.url + path) as response:
                return response.status
        except (aiohttp.ClientError, TimeoutError):
            return 0


def signing_key(path: Path) -> Ed25519PrivateKey:
    """A new key for the API, written to `path` as PEM."""
    key = Ed25519PrivateKey.generate()
    path.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    path.chmod(0o600)
    return key


class Stack:
    """A running Roomcast. `async with` starts it, waits until it is ready, and stops it.

    Attributes:
        key: what the API signs tokens with.
        apis, gateways, workers: what runs now, the first ones first.
    """

    def __init__(self, **settings: str) -> None:
        self._folder = Folder("stack")
        self._processes: list[Process] = []
        self.key = signing_key(self._folder.path / "key.pem")
        self.settings = {
            "DATA_DIR": str(self._folder.path / "data"),
            "JWT_PRIVATE_KEY_FILE": str(self._folder.path / "key.pem"),
            "API_PORT": str(free_port()),
            "GATEWAY_PORT": str(free_port()),
            "WORKER_PORT": str(free_port()),
            "RATE_LIMITS": "off",
            "LOG_FORMAT": "json",
            **settings,
        }
        self.apis: list[Service] = []
        self.gateways: list[Service] = []
        self.workers: list[Service] = []

    @property
    def api(self) -> Service:
        """The first API."""
        return self.apis[0]

    @property
    def gateway(self) -> Service:
        """The first gateway."""
        return self.gateways[0]

    @property
    def worker(self) -> Service:
        """The first worker."""
        return self.workers[0]

    def of(self, kind: Kind) -> list[Service]:
        """Returns what runs of that kind."""
        return {"api": self.apis, "gateway": self.gateways, "worker": self.workers}[kind]

    async def __aenter__(self) -> Self:
        try:
            await self._start()
        except BaseException:
            self._end()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        try:
            for process in reversed(self._processes):
                if process.running:
                    await process.end(signal.SIGTERM, seconds=STOP_SECONDS)
        finally:
            self._end()

    async def _start(self) -> None:
        raise NotImplementedError

    def _end(self) -> None:
        for process in self._processes:
            process.kill()
        self._folder.remove()

    def _spawn(self, name: str, command: list[str], settings: Mapping[str, str]) -> Process:
        log = self._folder.path / f"{name}-{len(self._processes)}.log"
        process = Process(name, log, orphaned=signal.SIGTERM)
        inherited = {key: value for key, value in os.environ.items() if not _FOREIGN.search(key)}
        path = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
        env = {**inherited, "PYTHONPATH": path, **self.settings, **settings}
        process.spawn([sys.executable, *command], env=env, drop_rights=False)
        self._processes.append(process)
        return process


class OneProcess(Stack):
    """`roomcast up` on embedded parts."""

    async def _start(self) -> None:
        process = self._spawn("up", [*COMMAND, "up", "--no-demo"], {})
        for kind in MODULES:
            url = f"http://127.0.0.1:{self.settings[f'{kind.upper()}_PORT']}"
            self.of(kind).append(Service(kind, url, process))
        for service in (self.api, self.gateway, self.worker):
            await service.until("/readyz", 200, seconds=START_SECONDS)


class Services(Stack):
    """Separate processes on real servers; one of each to begin with, more by `add`.

    `of_api` are settings that the APIs alone have.
    """

    def __init__(self, of_api: Mapping[str, str] = MappingProxyType({}), /, **settings: str) -> None:
        super().__init__(**settings)
        self._of_api = of_api

    async def _start(self) -> None:
        migrate = self._spawn("migrate", [*COMMAND, "migrate"], {})
        status = await migrate.ended(seconds=START_SECONDS)
        if status != 0:
            raise migrate.failure(f"ended with {status}")
        first = [self._launch(kind, {}) for kind in MODULES]
        for service in first:
            await service.until("/readyz", 200, seconds=START_SECONDS)

    async def add(self, kind: Kind, **settings: str) -> Service:
        """Starts one more of a kind, on a port of its own; returns when it is ready."""
        service = self._launch(kind, {f"{kind.upper()}_PORT": str(free_port()), **settings})
        await service.until("/readyz", 200, seconds=START_SECONDS)
        return service

    async def remove(self, service: Service) -> int | None:
        """Stops one service in good order; its exit status."""
        self.of(service.kind).remove(service)
        return await service.process.end(signal.SIGTERM, seconds=STOP_SECONDS)

    def _launch(self, kind: Kind, settings: dict[str, str]) -> Service:
        if kind == "gateway" and "API_URL" not in settings:
            settings["API_URL"] = f"http://127.0.0.1:{self.settings['API_PORT']}"
        if kind == "api":
            settings = {**self._of_api, **settings}
        process = self._spawn(kind, ["-m", MODULES[kind]], settings)
        port = {**self.settings, **settings}[f"{kind.upper()}_PORT"]
        service = Service(kind, f"http://127.0.0.1:{port}", process)
        self.of(kind).append(service)
        return service
