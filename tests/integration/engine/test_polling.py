"""Long-polling: bodies, polls and packets from raw clients."""

import asyncio
import gzip
import time
from collections.abc import AsyncIterator

import aiohttp
import orjson
import pytest
from support.gateways import RunningGateway, message_created

from ws_gateway.engine import server as engine
from ws_gateway.engine.server import Engine
from ws_gateway.metrics import SLOW_CONSUMERS
from ws_gateway.transport.connection import Connection


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


async def test_pages_of_own_origins_may_read_polls(
    gateway: RunningGateway, http: aiohttp.ClientSession
) -> None:
    """Others are not told that they may."""
    url = f"{gateway.url}/socket.io/?EIO=4&transport=polling"
    for origin, allowed in ((gateway.url, gateway.url), ("https://evil.example", None)):
        async with http.get(url, headers={"Origin": origin}) as response:
            assert response.headers.get("Access-Control-Allow-Origin") == allowed
