"""The engine under raw clients, transport by transport, and the official client on each."""

import asyncio
import gzip
import time
from collections.abc import AsyncIterator, Sequence
from typing import Any

import aiohttp
import fakeredis
import orjson
import pytest
from support.clients import NodeClient, NodeDriver
from support.gateways import RunningGateway, message_created, running_gateway

from shared.auth.tokens import Claims, Verifier
from shared.events import Event, user_room
from ws_gateway.engine import server as engine
from ws_gateway.engine.server import Engine
from ws_gateway.limits import Limits
from ws_gateway.metrics import DIRECT, HANDSHAKE_TIMEOUT, LIMITED, SLOW_CONSUMERS
from ws_gateway.transport.connection import Connection
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


class Raw:
    """A WebSocket on which a test writes Engine.IO packets by hand."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self._socket = socket

    async def send(self, *packets: str | bytes) -> None:
        for packet in packets:
            if isinstance(packet, str):
                await self._socket.send_str(packet)
            else:
                await self._socket.send_bytes(packet)

    async def receive(self) -> str | None:
        """The next packet; None at the end of the connection."""
        async with asyncio.timeout(5):
            message = await self._socket.receive()
        return message.data if message.type is aiohttp.WSMsgType.TEXT else None


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


DEEP = "[" * 60_000


@pytest.mark.parametrize(
    "packet",
    [
        "42",
        "42{}",
        "42[]",
        "42nonsense",
        f"42{DEEP}",
        f"4{DEEP}",
        "4",
        "49",
        "4x",
        "44{}",
        '450-["heartbeat"]',
        '4599999999-["heartbeat",{"_placeholder":true,"num":0}]',
        '4211111111111111111111111111111111111111111111111111111111111111111111111111111111111111111111111111111["x"]',
        '42²["x"]',
        b"bytes",
        "",
        "x",
    ],
)
async def test_packets_that_make_no_sense_end_the_connection(
    gateway: RunningGateway, connected: Raw, packet: str | bytes
) -> None:
    """The connection is closed within a moment; the gateway goes on."""
    await connected.send(packet)
    assert await connected.receive() is None
    client = await gateway.connect("ada")
    assert (await client.emit("heartbeat"))["ok"]


async def test_what_a_socket_asked_is_not_answered_to_the_next_on_its_connection(
    gateway: RunningGateway, connected: Raw
) -> None:
    """Numbers of acknowledgements begin anew with each socket; the answer would be taken for another's."""
    chat_id = gateway.api.open_chat("ada")
    gateway.api.arrived.clear()
    gateway.api.gate.clear()
    try:
        await connected.send(f'420["join-chat","{chat_id}"]')
        await gateway.api.arrived.wait()
        await connected.send("41", gateway.connect_packet("ben"))
        assert str(await connected.receive()).startswith("40{")
        assert str(await connected.receive()).startswith('42["connected",')
    finally:
        gateway.api.gate.set()
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.5):
            await connected.receive()


@pytest.mark.parametrize("name", ["7", "null", '{"a":1}', '["heartbeat"]', '"\\ud800"'])
async def test_names_that_are_no_names_are_unknown_events(connected: Raw, name: str) -> None:
    """Any JSON value in the name's place is answered."""
    await connected.send(f"421[{name}]")
    answer = orjson.loads(str(await connected.receive())[3:])
    assert answer[0]["error"]["code"] == "unknown_event"


async def test_acknowledgements_and_other_namespaces_are_passed_over(connected: Raw) -> None:
    """Nothing was asked, and nobody is there."""
    await connected.send("431[1]", '42/admin,1["heartbeat"]', "41/admin,", '421["heartbeat"]')
    assert str(await connected.receive()).startswith('431[{"ok":true')


async def test_a_binary_packet_with_the_wrong_attachment_ends_the_connection(connected: Raw) -> None:
    """A placeholder beyond its attachments."""
    await connected.send('451-["heartbeat",{"_placeholder":true,"num":5}]', b"abc")
    assert await connected.receive() is None


async def test_text_in_place_of_an_attachment_ends_the_connection(connected: Raw) -> None:
    """The attachments that were announced have to follow."""
    await connected.send('451-["heartbeat",{"_placeholder":true,"num":0}]', '421["heartbeat"]')
    assert await connected.receive() is None


async def test_a_second_connect_ends_the_connection(gateway: RunningGateway, connected: Raw) -> None:
    """A connection has one socket."""
    await connected.send(gateway.connect_packet("ada"))
    assert await connected.receive() is None


async def test_a_message_that_is_too_big_ends_the_connection(connected: Raw) -> None:
    """As big as allowed is answered."""
    padding = "x" * (65536 - len('421["heartbeat",""]'))
    await connected.send(f'421["heartbeat","{padding}"]')
    assert str(await connected.receive()).startswith('431[{"ok":true')
    await connected.send(f'421["heartbeat","{padding}x"]')
    assert await connected.receive() is None


async def test_a_client_that_does_not_read_is_closed_and_nobody_else_notices(
    gateway: RunningGateway, raw: Raw
) -> None:
    """The queue for it is bounded; it gets what came before, without a hole, and then the end."""
    await raw.send(gateway.connect_packet("sloth"))
    before = SLOW_CONSUMERS._value.get()
    reader = await gateway.connect("hare")
    await reader.wait("connected")
    text = "x" * 100_000
    for number in range(1, 201):
        event = Event(
            type="chat.updated",
            name="chat-updated",
            body=orjson.dumps({"number": number, "text": text}),
            rooms=(user_room("sloth"), user_room("hare")),
        )
        await gateway.publish(event)
        got = await reader.wait("chat-updated", number)
        assert got["number"] == number
    assert SLOW_CONSUMERS._value.get() == before + 1
    numbers = []
    while (packet := await raw.receive()) is not None:
        numbers += [orjson.loads(packet[2:])[1]["number"]] if packet.startswith('42["chat') else []
    assert numbers == list(range(1, len(numbers) + 1))
    assert 10 < len(numbers) < 200


@pytest.fixture(scope="module")
async def hasty() -> AsyncIterator[RunningGateway]:
    """A gateway that does not wait long."""
    limits = Limits(handshake_seconds=0.3, limited=False)
    async with fakeredis.FakeAsyncRedis() as store, running_gateway(store, limits=limits) as running:
        yield running


@pytest.mark.parametrize("packets", [[], ["40"], ["40/admin,"], ['40{"token":"x"}']])
async def test_without_a_socket_a_connection_ends(
    hasty: RunningGateway, http: aiohttp.ClientSession, packets: list[str]
) -> None:
    """A connection that never asks for one, or is refused, does not stay; that is counted."""
    before = LIMITED.labels(HANDSHAKE_TIMEOUT)._value.get()
    async with http.ws_connect(f"{hasty.url}/socket.io/?EIO=4&transport=websocket") as socket:
        raw = Raw(socket)
        await raw.send(*packets)
        while await raw.receive() is not None:
            pass
    assert LIMITED.labels(HANDSHAKE_TIMEOUT)._value.get() == before + 1


async def test_who_asks_for_a_socket_in_vain_does_not_stay_for_ever(raw: Raw) -> None:
    """Each refusal gives a client time for another token, but not without end."""
    before = LIMITED.labels(HANDSHAKE_TIMEOUT)._value.get()
    for _ in range(engine.MAX_REFUSALS):
        await raw.send('40{"token":"x"}')
        assert "token_invalid" in str(await raw.receive())
    while await raw.receive() is not None:
        pass
    assert LIMITED.labels(HANDSHAKE_TIMEOUT)._value.get() == before + 1


@pytest.mark.parametrize("packets", [[], ["2probe"]])
async def test_an_upgrade_that_does_not_go_on_ends(
    hasty: RunningGateway, http: aiohttp.ClientSession, packets: list[str]
) -> None:
    """Its WebSocket is cut; the session goes on by polling."""
    url = f"{hasty.url}/socket.io/?EIO=4&transport="
    async with http.get(url + "polling") as response:
        sid = orjson.loads((await response.text())[1:])["sid"]
    connect = hasty.connect_packet("ada")
    async with http.post(f"{url}polling&sid={sid}", data=connect) as response:
        assert response.status == 200
    before = LIMITED.labels(HANDSHAKE_TIMEOUT)._value.get()
    async with http.ws_connect(f"{url}websocket&sid={sid}") as socket:
        raw = Raw(socket)
        await raw.send(*packets)
        assert await raw.receive() == ("3probe" if packets else None)
        assert await raw.receive() is None
    assert LIMITED.labels(HANDSHAKE_TIMEOUT)._value.get() == before + 1
    async with http.get(f"{url}polling&sid={sid}") as response:
        assert (await response.text()).startswith(("40{", "6"))


async def test_a_handshake_that_is_being_looked_at_has_its_time(
    hasty: RunningGateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The client has done its part: it is not closed for what the gateway waits for."""
    at_once = Verifier.verify

    async def slowly(verifier: Verifier, token: str) -> Claims:
        await asyncio.sleep(0.6)
        return await at_once(verifier, token)

    monkeypatch.setattr(Verifier, "verify", slowly)
    client = await hasty.connect("ada")
    assert (await client.emit("heartbeat"))["ok"]


async def test_long_polling_takes_as_many_packets_as_fit(
    gateway: RunningGateway, http: aiohttp.ClientSession
) -> None:
    """python-engineio would drop a body of more than 16; a slow body is read whole."""
    url = f"{gateway.url}/socket.io/?EIO=4&transport=polling"
    async with http.get(url) as response:
        assert response.headers["Cache-Control"] == "no-store"
        url += "&sid=" + orjson.loads((await response.text())[1:])["sid"]
    connect = gateway.connect_packet("ada")
    packets = [connect, *(f'42{number}["heartbeat","{"x" * 200}"]' for number in range(100))]
    body = "\x1e".join(packets).encode()

    async def slowly() -> AsyncIterator[bytes]:
        for start in range(0, len(body), 8192):
            yield body[start : start + 8192]
            await asyncio.sleep(0.005)

    async with http.post(url, data=slowly()) as response:
        assert (response.status, await response.text()) == (200, "OK")
    got: list[str] = []
    while len(got) < 102:
        async with http.get(url) as response:
            got += (await response.text()).split("\x1e")
    assert [packet[:5] for packet in got[:2]] == ['40{"s', '42["c']
    assert sorted(int(packet[2 : packet.index("[")]) for packet in got[2:]) == list(range(100))


async def test_a_poll_is_answered_with_as_many_packets_as_every_client_takes(
    gateway: RunningGateway, http: aiohttp.ClientSession
) -> None:
    """python-engineio's client gives up on more than 16."""
    url = await gateway.open_polling(http)
    packets = [gateway.connect_packet("ada"), '42["heartbeat"]']
    async with http.post(url, data="\x1e".join(packets)) as response:
        assert response.status == 200
    await gateway.publish(*(message_created(gateway.api.open_chat(), seq, "ada") for seq in range(1, 51)))
    got: list[str] = []
    while len(got) < 52:
        async with http.get(url) as response:
            answered = (await response.text()).split("\x1e")
        assert len(answered) <= 16
        got += answered
    assert [f'"lastSeq":{seq},' in packet for seq, packet in enumerate(got[2:], 1)] == [True] * 50


async def test_a_client_that_never_polls_for_its_answers_is_closed(
    gateway: RunningGateway, http: aiohttp.ClientSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The queue for it is bounded, answers too."""
    chat_id = gateway.api.open_chat("ada")
    monkeypatch.setattr(gateway.api, "missed", [{"seq": 1, "content": "x" * 200_000}])
    url = await gateway.open_polling(http)
    async with http.post(url, data=gateway.connect_packet("ada")):
        pass
    slow = SLOW_CONSUMERS._value.get()
    for number in range(60):
        join = f'42{number}["join-chat",{{"chatId":"{chat_id}","afterSeq":0}}]'
        async with http.post(url, data=join) as response:
            if response.status == 400:
                break
    assert 20 <= number < 59
    assert SLOW_CONSUMERS._value.get() == slow + 1


async def test_many_connects_in_a_row_cost_as_much_as_one_after_the_other(
    gateway: RunningGateway, http: aiohttp.ClientSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each is refused in its turn; those behind it are not gone through each time."""
    taken = 0
    at_once = Engine.received

    def counted(of: Engine, connection: Connection, data: str | bytes) -> None:
        nonlocal taken
        taken += 1
        at_once(of, connection, data)

    monkeypatch.setattr(Engine, "received", counted)
    monkeypatch.setattr(engine, "MAX_REFUSALS", 301)
    url = await gateway.open_polling(http)
    async with http.post(url, data="\x1e".join(["40"] * 300)) as response:
        assert response.status == 200
    got: list[str] = []
    while len(got) < 300:
        async with http.get(url) as response:
            got += (await response.text()).split("\x1e")
    assert all("token_missing" in packet for packet in got)
    assert taken <= 2 * 300


async def test_packets_that_have_polls_answered_do_not_pile_up(
    gateway: RunningGateway, http: aiohttp.ClientSession
) -> None:
    """A client that posts nothing but UPGRADE packets has the gateway keep one NOOP, not one for each."""
    url = await gateway.open_polling(http)
    async with http.post(url, data="\x1e".join(["5"] * 1000)) as response:
        assert response.status == 200
    async with http.get(url) as response:
        assert await response.text() == "6"
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.3), http.get(url):
            pass


async def test_many_packets_behind_a_connect_hold_up_nobody(
    gateway: RunningGateway, http: aiohttp.ClientSession
) -> None:
    """Each that waits for the token to be looked at costs as much as the one before."""
    url = await gateway.open_polling(http)
    began = time.process_time()
    async with http.post(url, data="\x1e".join(["40", *["4"] * 32_000])):
        assert time.process_time() - began < 2


@pytest.mark.parametrize("body", [b"4\xff", b"\x93", b"b4!", b"x", b"\x1e\x1e", b"4" + b"[" * 60_000])
async def test_a_long_polling_body_that_makes_no_sense_ends_the_connection(
    gateway: RunningGateway, http: aiohttp.ClientSession, body: bytes
) -> None:
    """400, as the session is unknown from then on; the gateway goes on."""
    url = await gateway.open_polling(http)
    async with http.post(url, data=gateway.connect_packet("ada")) as response:
        assert response.status == 200
    statuses: list[int] = []
    while 400 not in statuses and len(statuses) < 2:
        async with http.post(url, data=body) as response:
            statuses.append(response.status)
    assert statuses[-1] == 400


@pytest.mark.parametrize("body", [b"not gzip", gzip.compress(b"x" * 10_000_000)])
async def test_a_compressed_body_is_taken_as_it_is(
    gateway: RunningGateway, http: aiohttp.ClientSession, caplog: pytest.LogCaptureFixture, body: bytes
) -> None:
    """It makes no sense then; nothing is unpacked, and nothing is logged as a failure."""
    url = await gateway.open_polling(http)
    async with http.post(url, data=body, headers={"Content-Encoding": "gzip"}) as response:
        assert response.status == 400
    assert "Unhandled exception" not in caplog.text


async def test_a_body_for_a_session_that_has_ended_is_refused(
    gateway: RunningGateway, http: aiohttp.ClientSession
) -> None:
    """400, though it was the client that ended it."""
    url = await gateway.open_polling(http)
    for status in (200, 400, 400):
        async with http.post(url, data=b"1") as response:
            assert response.status == status


async def test_a_long_polling_body_that_is_too_big_is_refused(
    gateway: RunningGateway, http: aiohttp.ClientSession
) -> None:
    """413, however it is sent."""
    url = await gateway.open_polling(http)
    async with http.post(url, data=b"4" * 70_000) as response:
        assert response.status == 413


@pytest.mark.parametrize("path", ["/", "/socket.io/other", "/socket.iox/", "/engine.io/", "/api/me"])
async def test_elsewhere_is_nothing(gateway: RunningGateway, http: aiohttp.ClientSession, path: str) -> None:
    """404 at once, for upgrade requests too."""
    async with http.get(gateway.url + path) as response:
        assert response.status == 404
    with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
        await http.ws_connect(gateway.url + path)
    assert refused.value.status == 404


@pytest.mark.parametrize(
    "query", ["EIO=3&transport=polling", "EIO=4&transport=polling&j=0", "EIO=4&transport=carrier-pigeon", ""]
)
async def test_other_protocols_are_refused(
    gateway: RunningGateway, http: aiohttp.ClientSession, query: str
) -> None:
    """Only Engine.IO 4, and no JSONP."""
    async with http.get(f"{gateway.url}/socket.io/?{query}") as response:
        assert response.status == 400


async def test_pages_of_own_origins_may_read_polls(
    gateway: RunningGateway, http: aiohttp.ClientSession
) -> None:
    """Others are not told that they may."""
    url = f"{gateway.url}/socket.io/?EIO=4&transport=polling"
    for origin, allowed in ((gateway.url, gateway.url), ("https://evil.example", None)):
        async with http.get(url, headers={"Origin": origin}) as response:
            assert response.headers.get("Access-Control-Allow-Origin") == allowed


@pytest.mark.parametrize("transports", [["websocket"], ["polling"], ["polling", "websocket"]])
async def test_the_official_client_works_on_each_transport(
    gateway: RunningGateway, node: NodeDriver, transports: Sequence[str]
) -> None:
    """Connect, join, get what is published while it upgrades, in order, and be told why it is dropped."""
    chat_id = gateway.api.open_chat("ada")
    session = f"session over {transports}"
    client = NodeClient(node, transports)
    await client.connect(gateway.url, auth={"token": gateway.api.token("ada", sid=session)})
    assert (await client.emit("join-chat", chat_id))["ok"]
    for seq in range(1, 101):
        await gateway.publish(message_created(chat_id, seq))
        await asyncio.sleep(0.001)
    await client.wait("new-msg", 100)
    assert [message["seq"] for message in client.bodies("new-msg")] == list(range(1, 101))
    assert client.names()[0] == "connected"
    assert (await client.emit("heartbeat", {"binary": "no"}))["ok"]
    await _end_session(gateway, session)
    assert await client.wait_disconnected() == "io server disconnect"


@pytest.mark.parametrize("transports", [["websocket"], ["polling"]])
async def test_the_official_client_comes_back_after_a_stop(
    node: NodeDriver, transports: Sequence[str]
) -> None:
    """Its reason is one after which it reconnects by itself."""
    async with fakeredis.FakeAsyncRedis() as store, running_gateway(store) as gateway:
        client = NodeClient(node, transports)
        await client.connect(gateway.url, auth={"token": gateway.api.token("ada")})
        gateway.stop.set()
        await client.wait("server-draining")
        assert await client.wait_disconnected() in {"transport close", "transport error"}


@pytest.mark.parametrize("auth", [None, {"token": "nonsense"}])
async def test_the_official_client_is_told_why_it_is_refused(
    gateway: RunningGateway, node: NodeDriver, auth: Any
) -> None:
    """`connect_error` with `data.code` and a message."""
    from support.clients import RefusedError

    client = NodeClient(node, ["websocket"])
    with pytest.raises(RefusedError) as refused:
        await client.connect(gateway.url, auth=auth)
    assert refused.value.code == ("token_missing" if auth is None else "token_invalid")


async def _end_session(gateway: RunningGateway, session_id: str) -> None:
    from shared.events import SESSION_ENDED, Event, SessionEnded

    body = SessionEnded(session_id=session_id, user_id="ada").json_bytes()
    await gateway.publish(Event(type=SESSION_ENDED, body=body, everywhere=True))
