"""The official client on each transport."""

import asyncio
from collections.abc import Sequence
from typing import Any

import fakeredis
import pytest
from support.clients import NodeClient, NodeDriver
from support.gateways import RunningGateway, message_created, running_gateway

from shared.events import Event


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
    from shared.events import SESSION_ENDED, SessionEnded

    body = SessionEnded(session_id=session_id, user_id="ada").json_bytes()
    await gateway.publish(Event(type=SESSION_ENDED, body=body, everywhere=True))
