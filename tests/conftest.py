"""Fixtures that all tests share: servers, services and clients, started by the first test that asks."""

import os
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from unittest.mock import patch

import pytest
from hypothesis import HealthCheck, settings
from support.client_kinds import TRANSPORTS, Connect, NewClient, Register
from support.clients import NodeClient, NodeDriver, PythonClient, SocketClient
from support.rest import Api, Person
from support.servers import PostgresServer, RabbitServer, RedisServer, running
from support.stack import OneProcess, Service, Services, Stack

# How fast examples come says something of the machine, which runs other tests meanwhile.
settings.register_profile("beside others", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("beside others")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Tells what tests have recorded as their figures; with `-n` they have no terminal of their own."""
    for report in terminalreporter.getreports("passed"):
        for name, text in report.user_properties:
            if name == "figures":
                terminalreporter.section(report.nodeid.rpartition("::")[2])
                terminalreporter.write_line(str(text))


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Puts tests on the same servers beside each other, those on most servers first.

    With `-n` each worker begins with a stretch of this order, and later takes over from the end of another's:
    so that not every worker starts every server.
    """
    items.sort(key=_place)


def _place(item: pytest.Item) -> int:
    assert isinstance(item, pytest.Function)
    parameters = item.callspec.params.values() if hasattr(item, "callspec") else ()
    asked = {*item.fixturenames, *(value for value in parameters if isinstance(value, str))}
    if "cluster" in asked and "chaos" in item.path.parts:
        return 0
    if "e2e" in item.path.parts:
        return 1 if asked & {"services", "rabbitmq"} else 2
    return 3 if "rabbitmq" in asked else 4


@pytest.fixture(scope="session")
async def postgres() -> AsyncIterator[PostgresServer]:
    """A PostgreSQL; `await postgres.new_database()` gives the address of an empty database."""
    async with running(PostgresServer()) as server:
        yield server


@pytest.fixture(scope="session")
async def rabbitmq() -> AsyncIterator[RabbitServer]:
    """A RabbitMQ at `.url`; `await rabbitmq.ctl(...)` runs rabbitmqctl."""
    async with running(RabbitServer()) as server:
        yield server


@pytest.fixture(scope="session")
async def redis_server() -> AsyncIterator[RedisServer]:
    """A Redis at `.url` that keeps nothing."""
    async with running(RedisServer()) as server:
        yield server


@pytest.fixture(scope="session", autouse=True)
def coverage_settings() -> Iterator[dict[str, str]]:
    """The variables that make a process measure its coverage, half as fast, for those who ask."""
    with patch.dict(os.environ):
        names = [name for name in os.environ if name.startswith("COVERAGE_")]
        yield {name: os.environ.pop(name) for name in names}


@pytest.fixture(scope="session")
async def services(
    postgres: PostgresServer,
    rabbitmq: RabbitServer,
    redis_server: RedisServer,
    coverage_settings: dict[str, str],
) -> AsyncIterator[Services]:
    """Separate processes on real servers; only in its own process is the API tested as a whole."""
    urls = {
        "DATABASE_URL": await postgres.new_database(),
        "RABBITMQ_URL": rabbitmq.url,
        "REDIS_URL": redis_server.url,
    }
    async with Services(coverage_settings, **urls) as running:
        yield running


@pytest.fixture(scope="session")
async def one_process() -> AsyncIterator[OneProcess]:
    """`roomcast up`."""
    async with OneProcess() as running:
        yield running


@pytest.fixture(scope="session", params=["services", "up"])
def stack(request: pytest.FixtureRequest) -> Stack:
    """Each shape of Roomcast in turn."""
    name = {"services": "services", "up": "one_process"}[request.param]
    running: Stack = request.getfixturevalue(name)
    return running


@pytest.fixture(scope="session")
async def node() -> AsyncIterator[NodeDriver]:
    """The process in which the official clients run."""
    async with NodeDriver() as driver:
        yield driver


@pytest.fixture
async def new_client(node: NodeDriver) -> AsyncIterator[NewClient]:
    """Makes clients by kind, and closes them after the test."""
    async with AsyncExitStack() as clients:

        def make(kind: str) -> SocketClient:
            transports = TRANSPORTS[kind]
            library = NodeClient(node, transports) if kind.startswith("js") else PythonClient(transports)
            clients.push_async_callback(library.close)
            return library

        yield make


@pytest.fixture
def client_kind() -> str:
    """The kind of client where a test does not ask for each."""
    return "js-websocket"


@pytest.fixture
def connect(stack: Stack, new_client: NewClient, client_kind: str) -> Connect:
    """Opens sockets at the stack's gateway."""

    async def connected(
        person: Person,
        *,
        joining: str | None = None,
        at: Service | None = None,
        kind: str | None = None,
        token: str | None = None,
    ) -> SocketClient:
        client = new_client(kind or client_kind)
        await client.connect((at or stack.gateway).url, auth={"token": token or person.token})
        await client.wait("connected")
        if joining is not None:
            ack = await client.emit("join-chat", joining)
            assert ack["ok"], ack
        return client

    return connected


@pytest.fixture(scope="session")
async def api(stack: Stack) -> AsyncIterator[Api]:
    """The stack's API."""
    async with Api(stack.api.url) as opened:
        yield opened


@pytest.fixture(scope="session")
def register(api: Api) -> Register:
    """Registers a new user."""
    return api.register


@pytest.fixture(scope="session")
async def someone(api: Api) -> Person:
    """A user for tests that leave no trace: hashing a password is what costs most in many of them."""
    return await api.register("someone")
