"""Memory of connections is free once they have gone, without the garbage collector, which looks seldom."""

import gc
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from typing import Final

import aiohttp
import fakeredis
import pytest
from engineio.async_socket import AsyncSocket
from support.gateways import RunningGateway, eventually, running_gateway
from support.raw_socket import RawSocket, frame

from ws_gateway.limits import Limits
from ws_gateway.rooms.subscriptions import Socket, Subscription
from ws_gateway.transport import heartbeat
from ws_gateway.transport import websocket_connection as direct
from ws_gateway.transport.polling import server as stock
from ws_gateway.transport.polling.connection import PollingConnection, Upgrade
from ws_gateway.transport.websocket import WebSocket
from ws_gateway.transport.websocket_connection import WebSocketConnection

HELD: Final = (AsyncSocket, WebSocketConnection, PollingConnection, Socket, Subscription, Upgrade, WebSocket)
LAST_LOOKED_AT: Final = Counter({"AsyncSocket": 1, "WebSocket": 1})
"""python-engineio's service task keeps the session that it has looked at last."""
CONNECTIONS: Final = 3
PING_SECONDS: Final = 0.3
"""What has gone is kept until its next ping would be due."""


@pytest.fixture
async def gateway(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[RunningGateway]:
    """One whose pings are due soon."""
    for module in (direct, heartbeat, stock):
        monkeypatch.setattr(module, "PING_INTERVAL_SECONDS", PING_SECONDS)
        monkeypatch.setattr(module, "PING_TIMEOUT_SECONDS", PING_SECONDS)
    limits = Limits(handshake_seconds=1.0, limited=False)
    async with fakeredis.FakeAsyncRedis() as store, running_gateway(store, limits=limits) as running:
        yield running


@pytest.fixture
def before() -> Iterator[list[object]]:
    """Lists what there is of connections; the collector frees nothing from here on."""
    gc.collect()
    gc.disable()
    yield held()
    gc.enable()


def held() -> list[object]:
    """Lists what there is of connections, in use or not."""
    return [each for each in gc.get_objects() if isinstance(each, HELD)]


async def all_goes(but: list[object]) -> None:
    """Returns when nothing is held any more that was not before."""
    known = set(map(id, but))

    async def more() -> Counter[str]:
        return Counter(type(each).__name__ for each in held() if id(each) not in known) - LAST_LOOKED_AT

    await eventually(more, is_=Counter())


async def test_nothing_is_left_of_websockets(gateway: RunningGateway, before: list[object]) -> None:
    """Not their rooms, nor what had come of a frame."""
    chat_id = gateway.api.open_chat("ada")
    for _ in range(CONNECTIONS):
        raw = await RawSocket.joined(gateway.url, gateway.api.token("ada"), chat_id)
        raw.write(frame(b"4" * 60_000)[:50_000])
        raw.abort()
    await all_goes(but=before)


@pytest.mark.parametrize("last", ["1", "nonsense"])
async def test_nothing_is_left_of_polling_sessions(
    gateway: RunningGateway, before: list[object], last: str
) -> None:
    """They may end in good order or not, and what waits for them may never be fetched."""
    async with aiohttp.ClientSession() as http:
        for _ in range(CONNECTIONS):
            url = await gateway.open_polling(http)
            for body in (gateway.connect_packet("ada"), '420["heartbeat"]', last):
                async with http.post(url, data=body):
                    pass
    await all_goes(but=before)


async def test_nothing_is_left_of_sessions_that_went_over_to_websockets(
    gateway: RunningGateway, before: list[object]
) -> None:
    """Neither of what polled nor of the WebSockets."""
    for _ in range(CONNECTIONS):
        async with aiohttp.ClientSession() as http:
            url = await gateway.open_polling(http)
            async with http.post(url, data=gateway.connect_packet("ada")):
                pass
        async with aiohttp.ClientSession() as http, http.ws_connect(_websocket(url)) as socket:
            await socket.send_str("2probe")
            assert await socket.receive_str(timeout=5) == "3probe"
            await socket.send_str("5")
            await socket.send_str('420["heartbeat"]')
            while not (await socket.receive_str(timeout=5)).startswith("430"):
                pass
    await all_goes(but=before)


def _websocket(polling: str) -> str:
    return polling.replace("transport=polling", "transport=websocket")
