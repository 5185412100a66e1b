"""A gateway, and clients on each transport."""

from collections.abc import AsyncIterator

import aiohttp
import fakeredis
import orjson
import pytest
from integration.engine.raw_websocket import Raw
from support.clients import NodeDriver
from support.gateways import RunningGateway, running_gateway

from ws_gateway.limits import Limits
from ws_gateway.metrics import DIRECT
from ws_gateway.transport.polling import server as stock


@pytest.fixture(scope="module", params=["direct", "stock"])
async def gateway(request: pytest.FixtureRequest) -> AsyncIterator[RunningGateway]:
    """One whose WebSockets are straight on their connections, and one as with versions it does not know."""
    with pytest.MonkeyPatch.context() as patch:
        if request.param == "stock":
            patch.setitem(stock.HOLDS_FOR, "python-engineio", "0")
        async with fakeredis.FakeAsyncRedis() as store, running_gateway(store) as running:
            assert DIRECT._value.get() == (request.param == "direct")
            yield running


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as session:
        yield session


@pytest.fixture(scope="module")
async def node() -> AsyncIterator[NodeDriver]:
    async with NodeDriver() as driver:
        yield driver


@pytest.fixture
async def raw(gateway: RunningGateway, http: aiohttp.ClientSession) -> AsyncIterator[Raw]:
    """A WebSocket that has got the Engine.IO handshake."""
    url = f"{gateway.url}/socket.io/?EIO=4&transport=websocket"
    async with http.ws_connect(url) as socket:
        opened = Raw(socket)
        hello = await opened.receive()
        assert hello is not None
        assert orjson.loads(hello[1:])["maxPayload"] == 65536
        yield opened


@pytest.fixture
async def connected(gateway: RunningGateway, raw: Raw) -> Raw:
    """The same, with a socket of ada."""
    await raw.send(gateway.connect_packet("ada"))
    assert str(await raw.receive()).startswith("40{")
    assert str(await raw.receive()).startswith('42["connected",')
    return raw


@pytest.fixture(scope="module")
async def hasty() -> AsyncIterator[RunningGateway]:
    """A gateway that does not wait long."""
    limits = Limits(handshake_seconds=0.3, limited=False)
    async with fakeredis.FakeAsyncRedis() as store, running_gateway(store, limits=limits) as running:
        yield running
