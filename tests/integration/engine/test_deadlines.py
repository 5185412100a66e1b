"""Deadlines of connections: no socket, no upgrade, no answer."""

import asyncio

import aiohttp
import orjson
import pytest
from integration.engine.raw_websocket import Raw
from support.gateways import RunningGateway

from shared.auth.tokens import Claims, Verifier
from ws_gateway.engine import server as engine
from ws_gateway.metrics import HANDSHAKE_TIMEOUT, LIMITED


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
