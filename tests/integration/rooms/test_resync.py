"""After a gap: sockets are told to join again, and who is no member any more is put out."""

import asyncio
from collections.abc import AsyncIterator

import fakeredis
import pytest
from pydantic import SecretStr
from support.gateways import RunningGateway, message_created, running_gateway
from support.servers import RedisServer

from shared.bus import Listener
from shared.bus.local import LocalBus
from shared.process.links import redis_link
from shared.store.ended_sessions import EndedSessions
from ws_gateway.rooms.membership_recheck import MembershipRecheck


class GappyBus(LocalBus):
    """A bus within the process whose link a test cuts, which a `LocalBus` cannot."""

    listener: Listener

    async def consume_gateway(self, instance: str, listener: Listener) -> None:
        self.listener = listener
        await super().consume_gateway(instance, listener)

    def cut(self, *, gap: bool) -> None:
        """The link is lost and restored."""
        self.listener.unlinked()
        self.listener.linked(gap=gap)


@pytest.fixture
def bus() -> GappyBus:
    return GappyBus()


@pytest.fixture
async def gateway(bus: GappyBus, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[RunningGateway]:
    monkeypatch.setattr(
        MembershipRecheck.__init__,
        "__kwdefaults__",
        {
            **(MembershipRecheck.__init__.__kwdefaults__ or {}),
            "recheck_seconds": 0.2,
        },
    )
    async with fakeredis.FakeAsyncRedis() as store, running_gateway(store, bus=bus) as running:
        yield running


async def test_after_a_gap_every_socket_is_told(gateway: RunningGateway, bus: GappyBus) -> None:
    """`resync` for every chat, within a spread time; after a cut without a gap, nothing."""
    ada, ben = await gateway.connect("ada"), await gateway.connect("ben")
    bus.cut(gap=False)
    await ada.emit("heartbeat")
    assert not ada.bodies("resync")
    bus.cut(gap=True)
    for client in (ada, ben):
        body = await client.wait("resync")
        assert body["chatId"] is None
        assert 0 <= body["inMs"] <= 2000


async def test_after_a_gap_former_members_are_put_out(gateway: RunningGateway, bus: GappyBus) -> None:
    """Those that do not join again are looked up, and keep their place only if they are members."""
    chat_id = gateway.api.open_chat("ada", "ben")
    ada, ben = await gateway.join("ada", chat_id), await gateway.join("ben", chat_id)
    gateway.api.chats[chat_id].remove("ada")
    asked = len(gateway.api.asked)
    bus.cut(gap=True)
    await ben.wait("resync")
    await asyncio.sleep(1)
    assert len(gateway.api.asked) == asked + 2
    await gateway.publish(message_created(chat_id, 1, "ada"))
    await ada.wait("chat-activity")
    await ben.wait("new-msg")
    assert not ada.bodies("new-msg")


async def test_after_a_gap_ended_sessions_are_looked_up(gateway: RunningGateway, bus: GappyBus) -> None:
    """A `session.ended` that was lost takes effect all the same."""
    client = await gateway.connect("ada")
    await EndedSessions(gateway.redis).add("session-ada", 2**33)
    bus.cut(gap=True)
    await client.wait_disconnected(seconds=1)


async def test_a_link_that_is_away_makes_it_not_ready(gateway: RunningGateway, bus: GappyBus) -> None:
    """`/readyz` names it."""
    import aiohttp

    bus.listener.unlinked()
    async with aiohttp.ClientSession() as http, http.get(f"{gateway.url}/readyz") as response:
        assert response.status == 503
        assert (await response.json())["dependencies"]["rabbitmq"] != "ok"


async def test_a_socket_that_is_being_let_in_is_told_nothing_before_it_is_connected(
    redis_server: RedisServer,
) -> None:
    """`connected` is its first event, though what its user's room may have missed is found out meanwhile."""
    async with redis_link(SecretStr(redis_server.url)) as store, running_gateway(store) as gateway:
        await store.client_pause(1300)
        async with asyncio.TaskGroup() as tasks:
            early = tasks.create_task(gateway.connect("ada"))
            await asyncio.sleep(0.6)
            late = tasks.create_task(gateway.connect("ada"))
        await early.result().wait("resync")
        await late.result().emit("heartbeat")
        assert late.result().names() == ["connected"]
