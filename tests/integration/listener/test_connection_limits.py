"""TCP connections that are no WebSockets: so many at once, and none that nothing goes through."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any
from urllib.parse import urlsplit

import fakeredis
import orjson
import pytest
from support.gateways import RunningGateway, eventually, running_gateway
from support.raw_socket import RawSocket

from shared.config.addresses import networks
from ws_gateway.limits import Limits
from ws_gateway.metrics import HTTP_CONNECTIONS, LIMITED

POLL = b"GET /socket.io/?EIO=4&transport=polling HTTP/1.1\r\nHost: x\r\n\r\n"
ALIVE = b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"


@asynccontextmanager
async def limited(limits: Limits, **settings: Any) -> AsyncIterator[RunningGateway]:
    async with fakeredis.FakeAsyncRedis() as store, running_gateway(store, limits=limits, **settings) as one:
        await eventually(visitors, is_=0)
        yield one


async def visitors() -> float:
    return float(HTTP_CONNECTIONS._value.get())


def times(code: str) -> float:
    return float(LIMITED.labels(code)._value.get())


class Line:
    """A TCP connection by hand."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    @classmethod
    @asynccontextmanager
    async def to(cls, url: str, source: str = "127.0.0.2") -> AsyncIterator["Line"]:
        where = urlsplit(url)
        reader, writer = await asyncio.open_connection(where.hostname, where.port, local_addr=(source, 0))
        try:
            yield cls(reader, writer)
        finally:
            writer.transport.abort()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()

    async def poll(self) -> None:
        """Waits for what comes, on a session of its own."""
        sid = orjson.loads((await self.ask(POLL))[1][1:])["sid"]
        self.writer.write(POLL.replace(b" HTTP", f"&sid={sid} HTTP".encode()))

    async def ask(self, request: bytes) -> tuple[int, bytes]:
        """Status and body of the answer."""
        self.writer.write(request)
        async with asyncio.timeout(5):
            head = await self.reader.readuntil(b"\r\n\r\n")
            size = next(line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
            return int(head[9:12]), await self.reader.readexactly(int(size.partition(b":")[2]))


async def refusal(gateway: RunningGateway, source: str = "127.0.0.2") -> tuple[int, str]:
    """Returns the answer with which a connection from there is turned away before it has said a word."""
    before = times("too_many_connections")
    async with Line.to(gateway.url, source) as line, asyncio.timeout(5):
        said = await line.reader.read()
    assert times("too_many_connections") == before + 1
    assert b"\r\nRetry-After: 5\r\n" in said
    return int(said[9:12]), orjson.loads(said.partition(b"\r\n\r\n")[2])["code"]


async def test_an_address_has_so_many_connections_open() -> None:
    """One more: 429. Others come in, and one that goes makes room."""
    async with limited(Limits(http_connections_per_address=3)) as gateway, AsyncExitStack() as lines:
        held = [await lines.enter_async_context(Line.to(gateway.url)) for _ in range(3)]
        await held[0].poll()
        assert await visitors() == 3
        assert await refusal(gateway) == (429, "too_many_connections")
        other = await lines.enter_async_context(Line.to(gateway.url, "127.0.0.3"))
        assert (await other.ask(ALIVE))[0] == 200
        for gone in held:
            gone.writer.transport.abort()
            await eventually(visitors, is_=3)
            again = await lines.enter_async_context(Line.to(gateway.url))
            await again.poll()
            await eventually(visitors, is_=4)


async def test_all_together_have_so_many_connections_open() -> None:
    """503, wherever they come from; who came before is served on."""
    async with limited(Limits(http_connections=3)) as gateway, AsyncExitStack() as lines:
        held = [
            await lines.enter_async_context(Line.to(gateway.url, f"127.0.0.{number}")) for number in (2, 3, 4)
        ]
        assert await refusal(gateway, "127.0.0.9") == (503, "too_many_connections")
        assert (await held[0].ask(ALIVE))[0] == 200


@pytest.mark.parametrize("limits", [Limits(http_connections_per_address=3), Limits(http_connections=3)])
async def test_operators_are_answered_though_all_places_are_taken(limits: Limits) -> None:
    """A gateway that is full is alive: it must not be restarted for it. Nobody else gets their places."""
    async with limited(limits) as gateway, AsyncExitStack() as lines:
        for _ in range(3):
            await lines.enter_async_context(Line.to(gateway.url))
        await eventually(visitors, is_=3)
        for path in (b"/healthz", b"/metrics"):
            line = await lines.enter_async_context(Line.to(gateway.url))
            assert (await line.ask(ALIVE.replace(b"/healthz", path)))[0] == 200
            assert (await refusal(gateway))[1] == "too_many_connections"
        for request in (POLL, ALIVE.replace(b"/healthz", b"/healthz/more"), b"GET /healthz\r\n\r\n"):
            line = await lines.enter_async_context(Line.to(gateway.url))
            assert (await line.ask(request))[0] in (429, 503)


@pytest.mark.parametrize("limits", [Limits(http_connections_per_address=1), Limits(http_connections=1)])
async def test_operators_have_so_many_places_beside_the_others(
    limits: Limits, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else who knows the path could have as many as it likes."""
    monkeypatch.setattr("ws_gateway.listener.connection_limits.OPERATORS", 1)
    async with limited(limits) as gateway, AsyncExitStack() as lines:
        await lines.enter_async_context(Line.to(gateway.url))
        await eventually(visitors, is_=1)
        slow, other = [await lines.enter_async_context(Line.to(gateway.url)) for _ in range(2)]
        slow.writer.write(ALIVE[:10])
        await slow.writer.drain()
        slow.writer.write(ALIVE[10:-2])
        await eventually(visitors, is_=2)
        assert (await other.ask(ALIVE))[0] in (429, 503)
        assert (await slow.ask(b"\r\n"))[0] == 200


@pytest.mark.parametrize("limits", [Limits(http_connections_per_address=3), Limits(http_connections=3)])
async def test_connections_that_idle_make_room(limits: Limits) -> None:
    """Those longest idle after a request go first, and never one on which something is asked."""
    async with limited(limits) as gateway, AsyncExitStack() as lines:
        polling, first, second = [await lines.enter_async_context(Line.to(gateway.url)) for _ in range(3)]
        await polling.poll()
        for idle in (second, first, second):
            assert (await idle.ask(ALIVE))[0] == 200
        third = await lines.enter_async_context(Line.to(gateway.url))
        assert await first.reader.read() == b""
        assert (await third.ask(ALIVE))[0] == 200
        assert (await second.ask(ALIVE))[0] == 200
        await lines.enter_async_context(Line.to(gateway.url))
        assert await third.reader.read() == b""
        assert not polling.reader.at_eof()
        assert await visitors() == 3


async def test_websockets_are_no_visitors() -> None:
    """However many are open: they count as sockets."""
    async with limited(Limits(http_connections_per_address=1)) as gateway:
        for _ in range(5):
            await RawSocket.joined(gateway.url, gateway.api.token("ada"))
        assert await visitors() == 0


async def test_an_upgraded_client_s_websocket_is_no_visitor() -> None:
    """The connections of its polls make room for the next one's."""
    async with limited(Limits(http_connections_per_address=4)) as gateway:
        for _ in range(8):
            client = await gateway.connect("ada", transports=("polling", "websocket"))
            assert (await client.emit("heartbeat"))["ok"]
        assert await visitors() <= 4


async def test_a_trusted_proxy_speaks_for_many() -> None:
    """It has as many as all together may have."""
    proxy = networks("127.0.0.2")
    async with (
        limited(Limits(http_connections_per_address=1), trusted_proxies=proxy) as gateway,
        AsyncExitStack() as lines,
    ):
        for _ in range(5):
            line = await lines.enter_async_context(Line.to(gateway.url))
            await line.poll()
        assert await visitors() == 5


async def test_who_is_turned_away_does_not_stay() -> None:
    """It does not matter what it goes on sending, nor whether it reads."""
    async with (
        limited(Limits(http_connections_per_address=1)) as gateway,
        Line.to(gateway.url),
        Line.to(gateway.url) as late,
    ):
        with contextlib.suppress(ConnectionError):
            async with asyncio.timeout(5):
                while True:
                    late.writer.write(b"x" * 1000)
                    await late.writer.drain()
                    await asyncio.sleep(0.05)


async def test_who_asks_and_takes_no_answers_is_cut() -> None:
    """A client that reads nothing of what it asked for is no reason to keep its connection; it is counted."""
    async with limited(Limits(handshake_seconds=0.5)) as gateway:
        before = times("slow_consumer")
        own = socket.socket()
        own.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        own.setblocking(False)
        loop = asyncio.get_running_loop()
        where = urlsplit(gateway.url)
        await loop.sock_connect(own, (where.hostname, where.port))
        asking = b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n" * 200

        async def cut() -> float:
            with contextlib.suppress(BlockingIOError, ConnectionError):
                own.send(asking)
            return times("slow_consumer") - before

        await eventually(cut, is_=1, seconds=10)
        await eventually(visitors, is_=0)
        own.close()


async def test_who_made_room_and_takes_nothing_is_cut() -> None:
    """It has no place any more, so it may not stay until its client reads what was answered last."""
    async with limited(Limits(handshake_seconds=0.5, http_connections_per_address=1)) as gateway:
        before = times("slow_consumer")
        own = socket.socket()
        own.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        own.bind(("127.0.0.2", 0))
        own.setblocking(False)
        where = urlsplit(gateway.url)
        await asyncio.get_running_loop().sock_connect(own, (where.hostname, where.port))
        own.send(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n" * 40)
        await asyncio.sleep(0.3)  # the answers that nobody takes are written by then
        async with Line.to(gateway.url) as line:
            assert (await line.ask(ALIVE))[0] == 200

        async def cut() -> float:
            return times("slow_consumer") - before

        await eventually(cut, is_=1, seconds=3)
        own.close()


async def test_a_websocket_that_is_refused_is_a_visitor_again() -> None:
    """Asking for one is no way out of being counted."""
    odd = b"GET /socket.io/?EIO=4&transport=websocket HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\n\r\n"
    async with limited(Limits(http_connections_per_address=1)) as gateway, Line.to(gateway.url) as line:
        line.writer.write(odd)
        assert (await line.reader.readuntil(b"\r\n"))[9:12] == b"400"
        assert await visitors() == 1
