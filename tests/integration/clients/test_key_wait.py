"""A new key while somebody makes up key ids: good tokens are waited with, made-up ones hold nothing."""

import asyncio
import time
from collections.abc import AsyncIterator

import fakeredis
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from support.forging import reissued
from support.gateways import RunningGateway, running_gateway
from support.raw_socket import RawSocket, TurnedAwayError

from shared.auth import jwks
from ws_gateway.limits import Limits

FETCH_EACH_SECONDS = 3.0
BAD, GOOD, OTHER = "127.0.0.2", "127.0.0.3", "127.0.0.4"
AT_ONCE_SECONDS = 1.0


@pytest.fixture
async def gateway(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[RunningGateway]:
    monkeypatch.setattr(jwks, "REFETCH_SECONDS", FETCH_EACH_SECONDS)
    async with fakeredis.FakeAsyncRedis() as store, running_gateway(store) as running:
        yield running


def made_up(gateway: RunningGateway, kid: str) -> str:
    """A token that is right but for its key, which nobody has published."""
    return reissued(gateway.api.token("eve"), Ed25519PrivateKey.generate(), header={"kid": kid})


async def refusal(gateway: RunningGateway, token: str, source: str) -> str:
    with pytest.raises(TurnedAwayError) as refused:
        await RawSocket.joined(gateway.url, token, source=source)
    return refused.value.code


def rotate(gateway: RunningGateway) -> None:
    gateway.api.key, gateway.api.kid = Ed25519PrivateKey.generate(), "k2"


async def test_a_new_key_is_waited_for_while_others_make_ids_up(gateway: RunningGateway) -> None:
    """Nobody with a good token is refused, and the set is fetched no sooner than it may be."""
    old = await RawSocket.joined(gateway.url, gateway.api.token("ada"), source=OTHER)
    assert await refusal(gateway, made_up(gateway, "0"), BAD) == "token_invalid"
    rotate(gateway)
    fetched, began = gateway.api.key_sets, time.monotonic()
    coming = [
        asyncio.create_task(RawSocket.joined(gateway.url, gateway.api.token(user), source=GOOD))
        for user in ("ben", "cid")
    ]
    renewed = asyncio.create_task(old.ask("refresh-token", {"token": gateway.api.token("ada")}))
    for number in range(20):
        assert await refusal(gateway, made_up(gateway, f"{number}"), BAD) == "token_invalid"
    assert time.monotonic() - began < AT_ONCE_SECONDS
    assert not [task for task in (*coming, renewed) if task.done()]
    for socket in await asyncio.gather(*coming):
        assert socket.connected["userId"] in {"ben", "cid"}
    assert (await renewed)["ok"]
    assert time.monotonic() - began > FETCH_EACH_SECONDS - AT_ONCE_SECONDS
    assert gateway.api.key_sets == fetched + 1


async def test_who_shows_a_made_up_id_is_not_waited_with_again(gateway: RunningGateway) -> None:
    """Its first is looked for as soon as may be; from then on it is refused at once."""
    assert await refusal(gateway, made_up(gateway, "0"), OTHER) == "token_invalid"
    began = time.monotonic()
    assert await refusal(gateway, made_up(gateway, "1"), BAD) == "token_invalid"
    assert time.monotonic() - began > FETCH_EACH_SECONDS - AT_ONCE_SECONDS
    fetched, began = gateway.api.key_sets, time.monotonic()
    for number in range(10):
        assert await refusal(gateway, made_up(gateway, f"more {number}"), BAD) == "token_invalid"
    assert time.monotonic() - began < AT_ONCE_SECONDS
    assert gateway.api.key_sets == fetched


async def test_an_id_that_was_just_looked_for_is_refused_at_once(gateway: RunningGateway) -> None:
    """It does not matter who shows it."""
    assert await refusal(gateway, made_up(gateway, "0"), BAD) == "token_invalid"
    began = time.monotonic()
    assert await refusal(gateway, made_up(gateway, "0"), OTHER) == "token_invalid"
    assert time.monotonic() - began < AT_ONCE_SECONDS


async def test_nobody_waits_longer_than_a_handshake_may_last(monkeypatch: pytest.MonkeyPatch) -> None:
    """The answer comes at once while the next fetch is farther away."""
    monkeypatch.setattr(jwks, "REFETCH_SECONDS", 60.0)
    async with (
        fakeredis.FakeAsyncRedis() as store,
        running_gateway(store, limits=Limits(handshake_seconds=5)) as gateway,
    ):
        assert await refusal(gateway, made_up(gateway, "0"), BAD) == "token_invalid"
        rotate(gateway)
        began = time.monotonic()
        assert await refusal(gateway, gateway.api.token("ben"), GOOD) == "token_invalid"
        assert time.monotonic() - began < AT_ONCE_SECONDS
