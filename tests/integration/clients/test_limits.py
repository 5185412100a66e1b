"""Limits on what a client uses of a gateway: past each it is refused with a code, and counted."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import fakeredis
import pytest
from support.clients import RefusedError
from support.gateways import RunningGateway, eventually, running_gateway
from support.raw_socket import PING, RawSocket, TurnedAwayError, frame

from shared.config.addresses import networks
from ws_gateway.limits import Limits
from ws_gateway.metrics import LIMITED, SOCKETS

POLLING = "/socket.io/?EIO=4&transport=polling"


@asynccontextmanager
async def limited(limits: Limits, **settings: Any) -> AsyncIterator[RunningGateway]:
    async with fakeredis.FakeAsyncRedis() as store, running_gateway(store, limits=limits, **settings) as one:
        yield one


def counted(code: str) -> AbstractAsyncContextManager[None]:
    """The block has this limit counted."""

    @asynccontextmanager
    async def block() -> AsyncIterator[None]:
        before = LIMITED.labels(code)._value.get()
        yield
        assert LIMITED.labels(code)._value.get() > before

    return block()


async def test_a_user_has_so_many_sockets() -> None:
    """One more is refused, another user's is not; a place is free again once a socket has gone."""
    async with limited(Limits(sockets_per_user=2)) as gateway, counted("too_many_sockets"):
        first, _ = [await gateway.connect("ada") for _ in range(2)]
        with pytest.raises(RefusedError) as refused:
            await gateway.connect("ada")
        assert refused.value.code == "too_many_sockets"
        await gateway.connect("ben")
        await first.close()

        async def sockets() -> float:
            return float(SOCKETS._value.get())

        await eventually(sockets, is_=2)
        await gateway.connect("ada")


async def test_refused_clients_take_no_place() -> None:
    """Bad tokens do not use up what a good one may."""
    async with limited(Limits(sockets_per_user=1)) as gateway:
        for _ in range(3):
            with pytest.raises(RefusedError):
                await gateway.connect("ada", token=gateway.api.token("ada", seconds=-1))
        await gateway.connect("ada")


async def test_a_gateway_holds_so_many_sockets() -> None:
    """503 `gateway_full` with `Retry-After`, on both transports: clients come again by themselves."""
    async with limited(Limits(max_sockets=1)) as gateway, counted("gateway_full"):
        await gateway.connect("ada")
        with pytest.raises(TurnedAwayError) as turned_away:
            await RawSocket.opened(gateway.url)
        assert (turned_away.value.status, turned_away.value.code) == (503, "gateway_full")
        async with aiohttp.ClientSession() as http, http.get(gateway.url + POLLING) as response:
            assert (response.status, (await response.json())["code"]) == (503, "gateway_full")
            assert int(response.headers["Retry-After"]) >= 1


async def test_an_address_opens_so_many_connections() -> None:
    """429 `too_many_handshakes` for the one, while others come in; a page of ours may read why."""
    async with limited(Limits(handshakes_per_address=1)) as gateway, counted("too_many_handshakes"):
        for _ in range(4):
            await RawSocket.joined(gateway.url, gateway.api.token("ada"), source="127.0.0.2")
        with pytest.raises(TurnedAwayError) as turned_away:
            await RawSocket.opened(gateway.url, source="127.0.0.2")
        assert (turned_away.value.status, turned_away.value.code) == (429, "too_many_handshakes")
        await RawSocket.joined(gateway.url, gateway.api.token("ada"), source="127.0.0.3")
        async with aiohttp.ClientSession() as http:
            answers = [
                await http.get(gateway.url + POLLING, headers={"Origin": gateway.url}) for _ in range(5)
            ]
            answer = answers[-1]
            assert answer.status == 429
            assert answer.headers["Access-Control-Allow-Origin"] == gateway.url


@pytest.mark.parametrize("end", ["&sid=", "&sid", "&sid=&sid="])
async def test_a_session_without_an_id_is_a_new_one(end: str) -> None:
    """An empty `sid` opens a session like none at all, so it counts like that."""
    async with limited(Limits(handshakes_per_address=1)) as gateway, counted("too_many_handshakes"):
        async with aiohttp.ClientSession() as http:
            answers = [await http.get(gateway.url + POLLING + end) for _ in range(5)]
        assert [answer.status for answer in answers] == [200] * 4 + [429]


@pytest.mark.parametrize("trusted", [True, False])
async def test_an_address_is_who_is_behind_a_trusted_proxy(trusted: bool) -> None:
    """`X-Forwarded-For` of a proxy that is not trusted counts for nothing."""
    proxies = networks("127.0.0.0/8") if trusted else ()
    async with limited(Limits(handshakes_per_address=1), trusted_proxies=proxies) as gateway:
        for number in range(4):
            await RawSocket.opened(gateway.url, headers={"X-Forwarded-For": f"198.51.100.{number}"})
        late = RawSocket.opened(gateway.url, headers={"X-Forwarded-For": "198.51.100.9"})
        if trusted:
            await late
        else:
            with pytest.raises(TurnedAwayError):
                await late


async def test_all_together_open_so_many_connections() -> None:
    """503 `gateway_busy`."""
    async with limited(Limits(handshakes_per_second=1)) as gateway, counted("gateway_busy"):
        for number in range(4):
            await RawSocket.opened(gateway.url, source=f"127.0.0.{number + 2}")
        with pytest.raises(TurnedAwayError) as turned_away:
            await RawSocket.opened(gateway.url)
        assert (turned_away.value.status, turned_away.value.code) == (503, "gateway_busy")


async def test_a_socket_that_floods_is_closed() -> None:
    """Ten times what it may ask is refused, event by event; past that the connection goes."""
    limits = Limits(events_per_second=5, burst=5)
    async with limited(limits) as gateway, counted("rate_limited"), counted("flooding"):
        raw = await RawSocket.joined(gateway.url, gateway.api.token("ada"))
        answers = [await raw.ask("heartbeat") for _ in range(10)]
        assert [answer["ok"] for answer in answers[:5]] == [True] * 5
        assert answers[-1]["error"]["code"] == "rate_limited"
        for _ in range(200):
            raw.text(b'42["heartbeat"]')
        async with asyncio.timeout(5):
            await raw.gone.wait()
        await gateway.connect("ada")


@pytest.mark.parametrize(
    "flood", [frame(b"3"), frame(b"2"), frame(b"43[]"), frame(b'42/admin,["x"]'), frame(b"", PING)]
)
async def test_floods_of_whatever_asks_for_nothing_are_cut_off(flood: bytes) -> None:
    """They cost as well; what comes before a socket is there counts, too."""
    limits = Limits(events_per_second=5, burst=5)
    async with limited(limits) as gateway, counted("flooding"):
        raw = await RawSocket.joined(gateway.url, gateway.api.token("ada"))
        raw.write(flood * 100)
        async with asyncio.timeout(7):
            await raw.gone.wait()
        early = await RawSocket.opened(gateway.url)
        early.write(flood * 100)
        async with asyncio.timeout(7):
            await early.gone.wait()


async def test_clients_are_told_the_limits_that_concern_them() -> None:
    """In `connected`."""
    limits = Limits(max_payload=2000, max_rooms=3, events_per_second=4, burst=5, sockets_per_user=6)
    async with limited(limits) as gateway:
        raw = await RawSocket.joined(gateway.url, gateway.api.token("ada"))
        assert raw.connected["limits"] == {
            "maxPayload": 2000,
            "maxRooms": 3,
            "eventsPerSecond": 4,
            "eventsBurst": 5,
            "maxSockets": 6,
        }


@pytest.mark.parametrize(
    "sent",
    [b"", b"GET /socket.io/?EIO=4&transport=polling HT", b"GET / HTTP/1.1\r\nHost: x\r\nX-Slow: "],
    ids=["silent", "half a line", "half a head"],
)
async def test_a_connection_without_a_request_is_closed(sent: bytes) -> None:
    """A client that opens connections and says nothing, or not all, does not keep them."""
    async with limited(Limits(handshake_seconds=0.3)) as gateway:
        where = urlsplit(gateway.url)
        reader, writer = await asyncio.open_connection(where.hostname, where.port)
        writer.write(sent)
        async with asyncio.timeout(2):
            assert await reader.read() == b""
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()


async def test_a_body_that_does_not_come_is_not_waited_for() -> None:
    """408, and the connection goes."""
    async with limited(Limits(handshake_seconds=0.3)) as gateway, counted("handshake_timeout"):
        where = urlsplit(gateway.url)
        reader, writer = await asyncio.open_connection(where.hostname, where.port)
        writer.write(b"POST %b&sid=x HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n4" % POLLING.encode())
        async with asyncio.timeout(12):
            assert (await reader.read()).startswith(b"HTTP/1.1 408")
        writer.close()


async def test_rooms_beyond_the_limit_are_counted() -> None:
    """`too_many_rooms`, as the client is told."""
    async with limited(Limits(max_rooms=1)) as gateway, counted("too_many_rooms"):
        first, second = (gateway.api.open_chat("ada") for _ in range(2))
        raw = await RawSocket.joined(gateway.url, gateway.api.token("ada"), first)
        assert (await raw.ask("join-chat", second))["error"]["code"] == "too_many_rooms"


async def test_payloads_beyond_the_limit_are_counted_on_both_transports() -> None:
    """A WebSocket is closed with 1009; a long-polling body is answered 413."""
    async with limited(Limits(max_payload=2000)) as gateway:
        async with counted("payload_too_large"):
            raw = await RawSocket.joined(gateway.url, gateway.api.token("ada"))
            raw.text(b'42["heartbeat","' + b"x" * 2000 + b'"]')
            async with asyncio.timeout(5):
                await raw.gone.wait()
            assert raw.close_code == 1009
        async with (
            counted("payload_too_large"),
            aiohttp.ClientSession() as http,
            http.post(f"{gateway.url}{POLLING}&sid=x", data=b"4" * 2001) as response,
        ):
            assert response.status == 413
