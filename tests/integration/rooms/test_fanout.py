"""Fan-out: clients get the same by the gateway's own way to their sockets as by python-socketio's `emit`."""

import asyncio
import random
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial
from typing import Any, Final

import aiohttp
import fakeredis
import orjson
import pytest
import socketio
from aiohttp import web
from support.clients import NodeClient, NodeDriver
from support.gateways import RunningGateway, message_created, running_gateway
from support.servers.ports import free_port

from shared.events import Event, chat_room
from ws_gateway.limits import Limits
from ws_gateway.metrics import SLOW_CONSUMERS

TRANSPORTS: Final = (["websocket"], ["polling"], ["polling", "websocket"])
SIZES: Final = (0, 90, 130, 3_000, 66_000)
"""Of texts whose frames have lengths of all three forms."""
EVENTS: Final = 150
ROOMS: Final = 3

Step = tuple[str, int, dict[str, Any]]
"""Event name, room, body."""


def script(seed: int) -> list[Step]:
    """Makes up what is sent, in order: the same for the same seed."""
    chance = random.Random(seed)
    return [
        (
            chance.choice(["msg-updated", "ai-chunk", "typing", "ünïcode"]),
            chance.randrange(ROOMS),
            {"n": number, "text": chance.choice('aé😀\\"\n') * chance.choice(SIZES)},
        )
        for number in range(EVENTS)
    ]


class Stock:
    """A server made of python-socketio as it comes, asked for the same."""

    def __init__(self) -> None:
        self.server = socketio.AsyncServer(async_mode="aiohttp", http_compression=False)
        self.server.on("join-chat", self._join)
        self.server.on("heartbeat", self._heartbeat)
        self.url = f"http://127.0.0.1:{free_port()}"

    @asynccontextmanager
    async def serving(self) -> AsyncIterator["Stock"]:
        app = web.Application()
        self.server.attach(app)
        runner = web.AppRunner(app, shutdown_timeout=0.1)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", int(self.url.rpartition(":")[2])).start()
        try:
            yield self
        finally:
            await self.server.shutdown()
            await runner.cleanup()

    async def send(self, step: Step, chats: Sequence[str]) -> None:
        name, room, body = step
        await self.server.emit(name, body, room=chat_room(chats[room]))

    async def _join(self, sid: str, chat_id: str) -> dict[str, Any]:
        await self.server.enter_room(sid, chat_room(chat_id))
        return {"ok": True}

    async def _heartbeat(self, *_: Any) -> dict[str, Any]:
        return {"ok": True}


class Ours:
    """The gateway."""

    def __init__(self, gateway: RunningGateway) -> None:
        self._gateway = gateway
        self.url = gateway.url

    async def send(self, step: Step, chats: Sequence[str]) -> None:
        name, room, body = step
        event = Event(
            type="chat.updated", name=name, body=orjson.dumps(body), rooms=(chat_room(chats[room]),)
        )
        await self._gateway.publish(event)


@pytest.fixture(scope="module")
async def gateway() -> AsyncIterator[RunningGateway]:
    limits = Limits(limited=False, max_waiting=64 * 1024 * 1024)  # a poll takes sixteen at a time
    async with fakeredis.FakeAsyncRedis() as store, running_gateway(store, limits=limits) as running:
        yield running


@pytest.fixture(scope="module")
async def node() -> AsyncIterator[NodeDriver]:
    async with NodeDriver() as driver:
        yield driver


async def clients_of(
    server: Stock | Ours, gateway: RunningGateway, node: NodeDriver, chats: Sequence[str]
) -> list[NodeClient]:
    """A client on each transport, in all rooms."""
    clients = [NodeClient(node, transports) for transports in TRANSPORTS]
    for client in clients:
        await client.connect(server.url, auth={"token": gateway.api.token("ada")})
        for chat_id in chats:
            assert (await client.emit("join-chat", chat_id))["ok"]
    return clients


def got_all(client: NodeClient, names: set[str]) -> bool:
    return len(client.bodies(*names)) >= EVENTS


async def played(
    server: Stock | Ours,
    clients: Sequence[NodeClient],
    steps: Sequence[Step],
    chats: Sequence[str],
    seed: int,
) -> list[list[tuple[str, Any]]]:
    """Sends the steps in irregular bursts while the clients ask for something; what each of them got."""
    chance = random.Random(seed)
    asked: list[asyncio.Task[Any]] = []
    for step in steps:
        await server.send(step, chats)
        if chance.random() < 0.2:
            asked.append(asyncio.create_task(chance.choice(clients).emit("heartbeat")))
        if chance.random() < 0.1:
            await asyncio.sleep(chance.random() / 100)
    names = {name for name, _, _ in steps}
    for client in clients:
        await client.until(partial(got_all, client, names), what="all events")
    for answer in await asyncio.gather(*asked):
        assert answer["ok"]
    return [[(got.event, got.body) for got in client.received if got.event in names] for client in clients]


@pytest.mark.parametrize("seed", [1, 2, 3])
async def test_every_client_gets_what_stock_emit_sends(
    gateway: RunningGateway, node: NodeDriver, seed: int
) -> None:
    """On each transport and over an upgrade in between: the same events, in the same order, none twice."""
    steps = script(seed)
    chats = [gateway.api.open_chat("ada") for _ in range(ROOMS)]
    async with Stock().serving() as stock:
        expected = await played(stock, await clients_of(stock, gateway, node, chats), steps, chats, seed)
        ours = Ours(gateway)
        got = await played(ours, await clients_of(ours, gateway, node, chats), steps, chats, seed)
    assert expected == [[(name, body) for name, _, body in steps]] * len(TRANSPORTS)
    assert got == expected


async def test_who_shares_a_room_with_a_client_that_is_cut_gets_everything(node: NodeDriver) -> None:
    """Those before it in the room and those after it, the event too at which it was cut."""
    limits = Limits(limited=False, max_waiting=200_000)
    async with (
        fakeredis.FakeAsyncRedis() as store,
        running_gateway(store, limits=limits) as gateway,
        aiohttp.ClientSession() as http,
    ):
        chat_id = gateway.api.open_chat("ada")
        first, last = NodeClient(node, ["websocket"]), NodeClient(node, ["websocket"])
        auth = {"token": gateway.api.token("ada")}
        await first.connect(gateway.url, auth=auth)
        await first.emit("join-chat", chat_id)
        for _ in range(3):
            await never_polls(http, gateway, chat_id)
        await last.connect(gateway.url, auth=auth)
        await last.emit("join-chat", chat_id)
        before = SLOW_CONSUMERS._value.get()
        for seq in range(1, 51):
            event = message_created(chat_id, seq)
            await gateway.publish(replace(event, body=orjson.dumps({"seq": seq, "text": "x" * 10_000})))
            for client in (first, last):
                await client.wait("new-msg", seq)
        for client in (first, last):
            assert [message["seq"] for message in client.bodies("new-msg")] == list(range(1, 51))
        assert SLOW_CONSUMERS._value.get() == before + 3


async def never_polls(http: aiohttp.ClientSession, gateway: RunningGateway, chat_id: str) -> None:
    """A client that joins a chat and then does not read."""
    url = await gateway.open_polling(http)
    connect = gateway.connect_packet("ada")
    body = "\x1e".join((connect, f'420["join-chat","{chat_id}"]'))
    async with http.post(url, data=body) as response:
        assert response.status == 200
    answer = ""
    while "430[" not in answer:
        async with http.get(url) as response:
            answer += await response.text()
