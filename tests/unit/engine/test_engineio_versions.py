"""The gateway reaches into python-engineio; this fails when it moves, and shows what serves then."""

import asyncio
import inspect
from importlib.metadata import version

import engineio
import pytest
from engineio.async_drivers import aiohttp as driver
from engineio.async_socket import AsyncSocket
from engineio.payload import Payload
from socketio import packet

from ws_gateway.engine.server import Engine
from ws_gateway.limits import Limits
from ws_gateway.metrics import DIRECT
from ws_gateway.transport.polling import server as stock
from ws_gateway.transport.polling.server import HOLDS_FOR, installed


@pytest.mark.parametrize("package", HOLDS_FOR)
def test_the_gateway_holds_for_the_installed_versions(package: str) -> None:
    """Another minor version: read its changes against `transport/polling/server.py`, then note it there."""
    assert installed()[package] == HOLDS_FOR[package], (
        f"{package} {version(package)} is installed, ws_gateway/transport/polling was written against "
        f"{HOLDS_FOR[package]}: look at what it overrides, run tests/integration/engine and transport, "
        "then set HOLDS_FOR"
    )


@pytest.mark.parametrize(("engineio_version", "direct"), [(None, True), ("4.99", False)])
async def test_with_other_versions_the_stock_path_serves(
    monkeypatch: pytest.MonkeyPatch, engineio_version: str | None, direct: bool
) -> None:
    """The engine and a metric say so."""
    if engineio_version is not None:
        monkeypatch.setitem(stock.HOLDS_FOR, "python-engineio", engineio_version)
    async with asyncio.TaskGroup() as tasks:
        engine = Engine(tasks=tasks, limits=Limits())
        assert engine.direct is direct
    assert DIRECT._value.get() == direct


def signature(function: object) -> str:
    assert callable(function)
    return ", ".join(inspect.signature(function).parameters)


def test_what_is_replaced_is_still_called_that_way() -> None:
    """Names and parameters of the internals that are overridden or called."""
    expected = {
        engineio.AsyncServer.disconnect: "self, sid",
        engineio.AsyncServer.create_queue: "self, args, kwargs",
        AsyncSocket.close: "self, wait, abort, reason",
        AsyncSocket.handle_post_request: "self, environ",
        AsyncSocket.schedule_ping: "self",
        AsyncSocket._websocket_handler: "self, ws",
        driver.translate_request: "request",
        packet.Packet.add_attachment: "self, attachment",
    }
    for function, parameters in expected.items():
        assert signature(function) == parameters, function
    assert set(driver._async) == {
        "asyncio",
        "create_route",
        "translate_request",
        "make_response",
        "websocket",
    }
    assert Payload.max_decode_packets


def test_what_an_upgrade_sets_is_there() -> None:
    """The marks by which python-engineio knows how far a connection has come."""
    server = engineio.AsyncServer(async_mode="aiohttp")
    socket = AsyncSocket(server, "sid")
    for name in ("connected", "closed", "closing", "upgrading", "upgraded"):
        assert getattr(socket, name) is False
    assert socket.queue is not None
