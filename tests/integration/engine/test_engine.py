"""The engine under raw clients, transport by transport, and the official client on each."""

import asyncio

import aiohttp
import orjson
import pytest
from integration.engine.raw_websocket import Raw
from support.gateways import RunningGateway

from shared.events import Event, user_room
from ws_gateway.metrics import SLOW_CONSUMERS

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
