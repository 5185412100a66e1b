"""Limits as the operator sets them: told to clients, refused with their codes, and counted."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import pytest
from support.client_kinds import NewClient
from support.clients import RefusedError, SocketClient
from support.gateways import eventually
from support.raw_socket import RawSocket, TurnedAwayError
from support.rest import Api, Person
from support.stack import Service, Services

NARROW = {
    "RATE_LIMITS": "on",
    "GATEWAY_MAX_PAYLOAD": "2048",
    "GATEWAY_MAX_ROOMS": "2",
    "GATEWAY_EVENTS_PER_SECOND": "5",
    "GATEWAY_EVENTS_BURST": "20",
    "GATEWAY_MAX_WAITING": "65536",
    "GATEWAY_SOCKETS_PER_USER": "2",
    "GATEWAY_HANDSHAKE_SECONDS": "1",
}
TINY = {
    "RATE_LIMITS": "on",
    "GATEWAY_MAX_SOCKETS": "2",
    "GATEWAY_HANDSHAKES_PER_ADDRESS": "1",
    "GATEWAY_HTTP_CONNECTIONS_PER_ADDRESS": "4",
}
each_transport = pytest.mark.parametrize("kind", ["js-websocket", "js-polling", "js-upgrade"])


@pytest.fixture(scope="module")
async def api(services: Services) -> AsyncIterator[Api]:
    async with Api(services.api.url) as opened:
        yield opened


@pytest.fixture(scope="module")
async def narrow(services: Services) -> AsyncIterator[Service]:
    gateway = await services.add("gateway", **NARROW)
    yield gateway
    await services.remove(gateway)


@pytest.fixture(scope="module")
async def tiny(services: Services) -> AsyncIterator[Service]:
    gateway = await services.add("gateway", **TINY)
    yield gateway
    await services.remove(gateway)


def counted(gateway: Service, code: str) -> AbstractAsyncContextManager[None]:
    """The block has this limit counted."""

    async def times() -> float:
        return await gateway.metric("roomcast_gateway_limited_total", code=code)

    @asynccontextmanager
    async def block() -> AsyncIterator[None]:
        before = await times()
        yield

        async def more() -> bool:
            return await times() > before

        await eventually(more, is_=True)

    return block()


async def opened(make: NewClient, kind: str, gateway: Service, person: Person) -> SocketClient:
    client = make(kind)
    await client.connect(gateway.url, auth={"token": person.token})
    await client.wait("connected")
    return client


async def comes_and_goes(gateway: Service, *, times: int, source: str) -> None:
    for _ in range(times):
        raw = await RawSocket.opened(gateway.url, source=source)
        raw.abort()
        await raw.gone.wait()


@each_transport
async def test_rooms_events_and_sizes(narrow: Service, api: Api, new_client: NewClient, kind: str) -> None:
    """Told in `connected`; one room or event too many is refused, a packet too large ends the connection."""
    ann = await api.register("ann")
    chats = [await ann.open_chat() for _ in range(3)]
    client = await opened(new_client, kind, narrow, ann)
    limits = client.bodies("connected")[0]["limits"]
    told = {"maxPayload": 2048, "maxRooms": 2, "eventsPerSecond": 5, "eventsBurst": 20, "maxSockets": 2}
    assert limits == told
    async with counted(narrow, "too_many_rooms"):
        acks = [await client.emit("join-chat", chat_id) for chat_id in chats]
    assert [ack["ok"] for ack in acks] == [True, True, False]
    assert acks[2]["error"]["code"] == "too_many_rooms"
    assert (await client.emit("leave-chat", chats[0]))["ok"]
    assert (await client.emit("join-chat", chats[2]))["ok"]
    async with counted(narrow, "rate_limited"):
        beats = await asyncio.gather(*(client.emit("heartbeat") for _ in range(40)))
    refused = [beat["error"]["code"] for beat in beats if not beat["ok"]]
    assert len(refused) >= 10
    assert set(refused) == {"rate_limited"}
    assert client.disconnected is None
    async with counted(narrow, "payload_too_large"):
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(1):
                await client.emit("heartbeat", "x" * 2048)
        await client.wait_disconnected()


async def test_a_user_s_sockets(narrow: Service, api: Api, new_client: NewClient) -> None:
    """One more is a `connect_error` with its code, over each transport; nobody else is refused."""
    ann, ben = await api.register("ann"), await api.register("ben")
    first, _ = [await opened(new_client, "js-websocket", narrow, ann) for _ in range(2)]
    for kind in ("js-websocket", "js-polling"):
        async with counted(narrow, "too_many_sockets"):
            with pytest.raises(RefusedError) as refused:
                await opened(new_client, kind, narrow, ann)
        assert refused.value.code == "too_many_sockets"
    await opened(new_client, "js-websocket", narrow, ben)
    await first.close()

    async def in_again() -> bool:
        try:
            await opened(new_client, "js-websocket", narrow, ann)
        except RefusedError:
            return False
        return True

    await eventually(in_again, is_=True)


async def test_a_handshake_has_its_time(narrow: Service) -> None:
    """A WebSocket on which no socket is asked for is closed."""
    async with counted(narrow, "handshake_timeout"), asyncio.timeout(5):
        raw = await RawSocket.opened(narrow.url)
        await raw.gone.wait()
        raw.abort()


async def test_who_does_not_read_is_closed(narrow: Service, api: Api, new_client: NewClient) -> None:
    """Counted as `slow_consumer`; the others in its room get everything."""
    ann, ben = await api.register("ann"), await api.register("ben")
    chat_id = await ann.open_chat(ben)
    slow = await RawSocket.joined(narrow.url, ben.token, chat_id)
    assert slow.transport is not None
    tcp: socket.socket = slow.transport.get_extra_info("socket")
    tcp.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    slow.transport.pause_reading()
    reader = await opened(new_client, "js-websocket", narrow, ann)
    assert (await reader.emit("join-chat", chat_id))["ok"]
    said = 0
    async with counted(narrow, "slow_consumer"):
        while said < 200 and not await narrow.metric("roomcast_gateway_slow_consumers_total"):
            said += 1
            await ann.say(chat_id, "x" * 32_000)
            await reader.wait("new-msg", said)
    assert [message["seq"] for message in reader.bodies("new-msg")] == list(range(1, said + 1))
    slow.abort()
    await slow.gone.wait()


async def test_a_full_gateway(tiny: Service, api: Api, new_client: NewClient) -> None:
    """The official client tries again by itself, and is in once there is room."""
    ann = await api.register("ann")
    sockets = [await opened(new_client, "js-websocket", tiny, ann) for _ in range(2)]
    waiting = new_client("js-websocket")
    async with counted(tiny, "gateway_full"):
        with pytest.raises(RefusedError) as refused:
            await waiting.connect(tiny.url, auth={"token": ann.token}, reconnection=True)
        assert refused.value.code is None
    with pytest.raises(TurnedAwayError) as turned_away:
        await RawSocket.opened(tiny.url)
    assert (turned_away.value.status, turned_away.value.code) == (503, "gateway_full")
    await sockets[0].close()
    await waiting.wait("connected", seconds=20)


async def test_an_address_that_opens_too_many(tiny: Service, api: Api, new_client: NewClient) -> None:
    """429 for handshakes and for connections; the official client is in a little later."""
    ann = await api.register("ann")
    async with counted(tiny, "too_many_handshakes"):
        with pytest.raises(TurnedAwayError) as turned_away:
            await comes_and_goes(tiny, times=10, source="127.0.0.7")
        assert (turned_away.value.status, turned_away.value.code) == (429, "too_many_handshakes")
    where = tiny.url.removeprefix("http://").split(":")
    async with counted(tiny, "too_many_connections"):
        silent = [
            await asyncio.open_connection(where[0], int(where[1]), local_addr=("127.0.0.8", 0))
            for _ in range(5)
        ]
        answer = await silent[-1][0].read()
        assert answer.startswith(b"HTTP/1.1 429 ")
        assert b'"code":"too_many_connections"' in answer
    for _, writer in silent:
        writer.transport.abort()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()
    late = new_client("js-websocket")
    with contextlib.suppress(RefusedError):
        await late.connect(tiny.url, auth={"token": ann.token}, reconnection=True)
    await late.wait("connected", seconds=20)
