"""Handshakes: who may open a socket, and what happens when a token ends."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import fakeredis
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from support.clients import PythonClient, RefusedError
from support.forging import expiring, reissued, tampered, unsigned
from support.gateways import RunningGateway, ScriptedApi, running_gateway

from shared.events import SESSION_ENDED, Event, SessionEnded
from shared.store.ended_sessions import EndedSessions


@pytest.fixture(scope="module")
async def gateway() -> AsyncIterator[RunningGateway]:
    async with fakeredis.FakeAsyncRedis() as store, running_gateway(store) as running:
        yield running


async def refusal(gateway: RunningGateway, auth: Any, **options: Any) -> Any:
    """The code with which a handshake is refused."""
    client = PythonClient(["websocket"])
    with pytest.raises(RefusedError) as refused:
        await client.connect(gateway.url, auth=auth, **options)
    return refused.value.code


@pytest.mark.parametrize("auth", [None, {}, {"token": None}, {"token": ""}, {"other": "x"}, [1], "text"])
async def test_without_a_token_nobody_comes_in(gateway: RunningGateway, auth: Any) -> None:
    """`token_missing`, whatever else is sent."""
    assert await refusal(gateway, auth) == "token_missing"


@pytest.mark.parametrize("token", ["nonsense", 7, ["a"], "\ud800", "é", "a.b.c", "x" * 20_000])
async def test_what_is_no_token_is_invalid(gateway: RunningGateway, token: Any) -> None:
    """`token_invalid`, and the gateway goes on."""
    assert await refusal(gateway, {"token": token}) == "token_invalid"


async def test_forged_tokens_are_invalid(gateway: RunningGateway) -> None:
    """Another key, no algorithm, other claims, another audience or issuer."""
    good, key = gateway.api.token("ada"), gateway.api.key
    for bad in (
        reissued(good, Ed25519PrivateKey.generate()),
        unsigned(good),
        tampered(good, sub="ben"),
        reissued(good, key, aud="other"),
        reissued(good, key, iss="other"),
        reissued(good, key, header={"kid": "unknown"}),
        reissued(good, key, without=("exp",)),
    ):
        assert await refusal(gateway, {"token": bad}) == "token_invalid"


async def test_an_expired_token_is_told_so(gateway: RunningGateway) -> None:
    """`token_expired` is another code than `token_invalid`."""
    assert await refusal(gateway, {"token": gateway.api.token("ada", seconds=-1)}) == "token_expired"


@pytest.mark.parametrize("origin", ["https://evil.example", "null", "http://127.0.0.1:1"])
async def test_foreign_origins_are_refused_first(gateway: RunningGateway, origin: str) -> None:
    """Even with a good token, and before a bad one is looked at."""
    headers = {"Origin": origin}
    good = {"token": gateway.api.token("ada")}
    assert await refusal(gateway, good, headers=headers) == "origin_forbidden"
    assert await refusal(gateway, None, headers=headers) == "origin_forbidden"


@pytest.mark.parametrize("transport", ["websocket", "polling"])
async def test_own_origins_may_connect(gateway: RunningGateway, transport: str) -> None:
    """The gateway's own address, under either of its names."""
    port = gateway.url.rpartition(":")[2]
    for host in ("127.0.0.1", "localhost"):
        headers = {"Origin": f"http://{host}:{port}"}
        await gateway.connect("ada", transports=(transport,), headers=headers)


async def test_other_namespaces_are_refused(gateway: RunningGateway) -> None:
    """There is only `/`."""
    client = PythonClient(["websocket"])
    client._http = aiohttp.ClientSession()
    import socketio

    inner = socketio.AsyncClient(http_session=client._http, reconnection=False)
    with pytest.raises(socketio.exceptions.ConnectionError):
        await inner.connect(
            gateway.url, auth={"token": gateway.api.token("ada")}, namespaces=["/admin"], wait_timeout=5
        )
    await client._http.close()


async def test_an_ended_session_is_out_at_once(gateway: RunningGateway) -> None:
    """Its sockets are dropped, others stay, and it opens no new one."""
    token = gateway.api.token("eve", sid="doomed")
    first, second = await gateway.connect("eve", token=token), await gateway.connect("eve")
    body = SessionEnded(session_id="doomed", user_id="eve").json_bytes()
    await gateway.publish(Event(type=SESSION_ENDED, body=body, subject="doomed", everywhere=True))
    await first.wait_disconnected(seconds=1)
    assert (await second.emit("heartbeat"))["ok"]
    assert await refusal(gateway, {"token": token}) == "token_invalid"
    answer = await second.emit("refresh-token", {"token": token})
    assert answer["error"]["code"] == "token_invalid"


async def test_sessions_that_ended_before_the_start_stay_out() -> None:
    """A gateway asks the store for them."""
    async with fakeredis.FakeAsyncRedis() as store:
        await EndedSessions(store).add("old", 2**33)
        async with running_gateway(store) as gateway:
            assert await refusal(gateway, {"token": gateway.api.token("ada", sid="old")}) == "token_invalid"


async def test_an_expired_token_ends_the_socket(gateway: RunningGateway) -> None:
    """`token-expiring` comes at once when less than a minute is left; at the expiry the socket is dropped."""
    client = await gateway.connect("ada", token=gateway.api.token("ada", seconds=2))
    welcome = await client.wait("connected")
    assert (await client.wait("token-expiring", seconds=1))["expiresAt"] == welcome["tokenExpiresAt"]
    assert client.names() == ["connected", "token-expiring"]
    await client.wait_disconnected(seconds=4)


async def test_a_refreshed_token_keeps_the_socket(gateway: RunningGateway) -> None:
    """The new token's expiry and session count from then on."""
    client = await gateway.connect("ada", token=gateway.api.token("ada", seconds=2))
    token = gateway.api.token("ada", sid="renewed", name="Countess")
    answer = await client.emit("refresh-token", {"token": token})
    assert answer.keys() == {"ok", "expiresAt"}
    assert answer["ok"] is True
    await asyncio.sleep(2.5)
    assert (await client.emit("heartbeat"))["ok"]
    body = SessionEnded(session_id="renewed", user_id="ada").json_bytes()
    await gateway.publish(Event(type=SESSION_ENDED, body=body, everywhere=True))
    await client.wait_disconnected(seconds=1)


async def test_a_refused_refresh_leaves_the_socket_as_it_was(gateway: RunningGateway) -> None:
    """Each refusal has its code."""
    client = await gateway.connect("ada")
    good = gateway.api.token("ada")
    for given, expected in (
        ({"token": gateway.api.token("ben")}, "forbidden"),
        ({"token": expiring(good, gateway.api.key, seconds=-5)}, "token_expired"),
        ({"token": tampered(good, sub="ben")}, "token_invalid"),
        ({"token": ""}, "token_missing"),
        ({"token": 7}, "invalid_payload"),
        ({}, "invalid_payload"),
        (good, "invalid_payload"),
    ):
        assert (await client.emit("refresh-token", given))["error"]["code"] == expected
    assert (await client.emit("heartbeat"))["ok"]


async def test_before_the_keys_are_known_clients_are_asked_to_come_again() -> None:
    """503, not a refusal: clients try again by themselves."""

    def without_keys(api: ScriptedApi) -> None:
        api.serves_keys = False

    async with (
        fakeredis.FakeAsyncRedis() as store,
        running_gateway(store, before=without_keys) as gateway,
        aiohttp.ClientSession() as http,
    ):
        async with http.get(f"{gateway.url}/socket.io/?EIO=4&transport=polling") as response:
            assert response.status == 503
            assert response.headers["Retry-After"]
        async with http.get(f"{gateway.url}/readyz") as response:
            assert response.status == 503
            assert "jwks" in await response.text()
        gateway.api.serves_keys = True
        async with asyncio.timeout(10):
            while True:
                async with http.get(f"{gateway.url}/socket.io/?EIO=4&transport=polling") as response:
                    if response.status == 200:
                        break
                await asyncio.sleep(0.1)
