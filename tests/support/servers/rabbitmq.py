"""A private RabbitMQ node, with an epmd of its own."""

import itertools
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

import aiormq
from aiormq.abc import AbstractChannel

from support.servers.ports import free_port
from support.servers.process import Folder, Process, ServerFailedError, accepts, find_program

_START_SECONDS: Final = 60.0
_CTL_SECONDS: Final = 30.0
_PACKAGE: Final = "rabbitmq-server"
# Debian's scripts in PATH insist on the system's own node and user; these are the programs behind them.
_BEHIND_THE_WRAPPER: Final = ("/usr/lib/rabbitmq/bin",)
# Its schedulers sleep when there is nothing to do; they would else wait busily for a while, in each worker.
_ERLANG: Final = "+S 2:2 +sbwt none +sbwtdcpu none +sbwtdio none -kernel inet_dist_use_interface {127,0,0,1}"


class RabbitServer:
    """A broker on ports of its own; a restart, orderly or after `kill`, keeps port, queues and messages."""

    def __init__(self) -> None:
        self.port = free_port()
        self._folder = Folder("rabbitmq")
        self._epmd_port = free_port()
        self._epmd = Process("epmd", self._folder.path / "epmd.log")
        self._process = Process("rabbitmq-server", self._folder.path / "rabbitmq.log")
        self._calls = itertools.count()
        self._vhosts = itertools.count(1)
        self._env = self._environment()

    @property
    def url(self) -> str:
        """`amqp://guest:guest@127.0.0.1:<port>/`."""
        return f"amqp://guest:guest@127.0.0.1:{self.port}/"

    @property
    def pid(self) -> int:
        """The id of the process that was started."""
        return self._process.pid

    async def start(self) -> None:
        """Returns when it takes AMQP connections (5 to 10 s)."""
        program = find_program("rabbitmq-server", package=_PACKAGE, also_in=_BEHIND_THE_WRAPPER)
        if not self._epmd.running:
            self._epmd.spawn([find_program("epmd", package="erlang-base")], env=self._env)
            await self._epmd.until(lambda: accepts(self._epmd_port), seconds=_START_SECONDS)
        self._process.spawn([program], env=self._env)
        await self._process.until(lambda: accepts(self.port), seconds=_START_SECONDS)
        await self.ctl("await_startup")

    async def stop(self) -> None:
        """An orderly stop."""
        await self._process.end(signal.SIGTERM, seconds=_START_SECONDS)

    async def kill(self) -> None:
        """SIGKILL."""
        self._process.kill()

    async def write_down_queues(self) -> None:
        """Has it write which queues it has, which it does each half second.

        A quorum queue that is younger comes back from `kill` without its messages, and never has a leader
        (RabbitMQ 3.10).
        """
        await self.ctl("eval", "[ok = dets:sync(Table) || Table <- dets:all()].")

    async def remove(self) -> None:
        """Stops it for good and deletes its folder."""
        self._process.kill()
        self._epmd.kill()
        self._folder.remove()

    async def ctl(self, *arguments: str) -> str:
        """Runs `rabbitmqctl` against this node, and answers its output.

        Raises:
            ServerFailedError: it failed or took too long; the message is what it said.
        """
        program = find_program("rabbitmqctl", package=_PACKAGE, also_in=_BEHIND_THE_WRAPPER)
        command = Process("rabbitmqctl", self._folder.path / f"ctl-{next(self._calls)}.log")
        command.spawn([program, "--quiet", *arguments], env=self._env)
        status = await command.ended(seconds=_CTL_SECONDS)
        if status != 0:
            raise ServerFailedError(
                f"rabbitmqctl {' '.join(arguments)} ended with {status}:\n{command.output}"
            )
        return command.output

    async def new_vhost(self) -> str:
        """Makes an empty virtual host and answers its `amqp://` address."""
        name = f"test-{next(self._vhosts)}"
        await self.ctl(
            "eval",
            f'rabbit_vhost:add(<<"{name}">>, <<"test">>), rabbit_auth_backend_internal:set_permissions('
            f'<<"guest">>, <<"{name}">>, <<".*">>, <<".*">>, <<".*">>, <<"test">>).',
        )
        return self.url + name

    def _environment(self) -> dict[str, str]:
        """Everything that tells this node from the system's own and from other test runs'."""
        home = self._folder.path
        config = self._folder.write("rabbitmq.conf", f"listeners.tcp.1 = 127.0.0.1:{self.port}\n")
        plugins = self._folder.write("enabled_plugins", "[].\n")
        return {
            "PATH": f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/bin:/sbin:/bin",
            "LANG": "C.UTF-8",
            "HOME": str(home),
            "ERL_EPMD_PORT": str(self._epmd_port),
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            "RABBITMQ_NODENAME": f"roomcast-{self.port}@localhost",
            "RABBITMQ_DIST_PORT": str(free_port()),
            "RABBITMQ_CTL_DIST_PORT_MIN": str(free_port()),
            "RABBITMQ_CONF_ENV_FILE": os.devnull,
            "RABBITMQ_CONFIG_FILE": str(config),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(plugins),
            "RABBITMQ_MNESIA_BASE": str(home / "mnesia"),
            "RABBITMQ_LOG_BASE": str(home / "log"),
            "RABBITMQ_LOGS": "-",
            "RABBITMQ_PID_FILE": str(home / "rabbitmq.pid"),
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": _ERLANG,
            "RUNNING_UNDER_SYSTEMD": "true",  # its script then becomes the node instead of watching it
        }


@asynccontextmanager
async def rabbit_channel(url: str) -> AsyncIterator[AbstractChannel]:
    """A plain channel on a connection of its own, beside what is tested."""
    connection = await aiormq.connect(url)
    try:
        yield await connection.channel()
    finally:
        await connection.close()
