"""The engine reaches into python-socketio and python-engineio; this fails when they move."""

import inspect
from importlib.metadata import version

import engineio
import pytest
import socketio
from engineio.async_drivers import aiohttp as driver
from engineio.async_socket import AsyncSocket
from engineio.payload import Payload

from ws_gateway.engine import HOLDS_FOR, Engine


@pytest.mark.parametrize("package", HOLDS_FOR)
def test_the_engine_holds_for_the_installed_versions(package: str) -> None:
    """Another minor version: read its changes against `ws_gateway/engine.py`, then note it there."""
    installed = ".".join(version(package).split(".")[:2])
    assert installed == HOLDS_FOR[package], (
        f"{package} {version(package)} is installed, ws_gateway/engine.py was written against "
        f"{HOLDS_FOR[package]}: look at what it overrides, run tests/integration/test_gateway_*.py, "
        "then set HOLDS_FOR"
    )


def signature(function: object) -> str:
    assert callable(function)
    return ", ".join(inspect.signature(function).parameters)


def test_what_the_engine_replaces_is_still_called_that_way() -> None:
    """Names and parameters of the internals that are overridden or called."""
    expected = {
        socketio.AsyncServer._handle_eio_connect: "self, eio_sid, environ",
        socketio.AsyncServer._handle_eio_message: "self, eio_sid, data",
        socketio.AsyncServer._handle_eio_disconnect: "self, eio_sid, reason",
        socketio.AsyncServer._handle_connect: "self, eio_sid, namespace, data",
        socketio.AsyncServer._handle_disconnect: "self, eio_sid, namespace, reason",
        socketio.AsyncServer._engineio_server_class: "self",
        socketio.AsyncServer.disconnect: "self, sid, namespace, ignore_queue",
        engineio.AsyncServer.disconnect: "self, sid",
        AsyncSocket.close: "self, wait, abort, reason",
        AsyncSocket._websocket_handler: "self, ws",
        driver.translate_request: "request",
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


def test_what_the_engine_overrides_exists() -> None:
    """An override of something that is gone would do nothing."""
    for name in ("_handle_eio_connect", "_handle_eio_message", "_handle_eio_disconnect", "_handle_connect"):
        assert name in vars(Engine)
        assert hasattr(socketio.AsyncServer, name)
