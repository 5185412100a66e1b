"""An orderly stop."""

import asyncio

import aiohttp
import fakeredis
import pytest
from support.clients import PythonClient, RefusedError
from support.gateways import eventually, running_gateway


async def test_sockets_are_told_each_another_delay_and_then_let_go() -> None:
    """Clients see a lost connection, not a disconnect by the server: they come back by themselves."""
    async with fakeredis.FakeAsyncRedis() as store, running_gateway(store) as gateway:
        clients = [await gateway.connect("ada", transports=(kind,)) for kind in ("websocket", "polling") * 5]
        gateway.stop.set()
        delays = [(await client.wait("server-draining"))["reconnectInMs"] for client in clients]
        assert len(set(delays)) == len(delays)
        assert min(delays) > 0
        for client in clients:
            assert await client.wait_disconnected(seconds=5) != "server disconnect"
        async with asyncio.timeout(5):
            await asyncio.shield(gateway.serving)


async def test_while_it_drains_nobody_new_comes_in() -> None:
    """Refused with `draining`, and not ready for a load balancer."""
    async with fakeredis.FakeAsyncRedis() as store, running_gateway(store) as gateway:
        client = await gateway.connect("ada")
        gateway.stop.set()
        await client.wait("server-draining")
        late = PythonClient(["websocket"])
        with pytest.raises(RefusedError) as refused:
            await late.connect(gateway.url, auth={"token": gateway.api.token("ben")})
        assert refused.value.code == "draining"
        async with aiohttp.ClientSession() as http, http.get(f"{gateway.url}/readyz") as response:
            assert response.status == 503


async def test_it_leaves_the_store_clean() -> None:
    """No interest, no presence, no heartbeat of it remains."""
    async with fakeredis.FakeAsyncRedis() as store:
        async with running_gateway(store) as gateway:
            await gateway.join("ada", gateway.api.open_chat("ada"))
            assert await store.keys("roomcast:presence:*")
            gateway.stop.set()
            await asyncio.wait([gateway.serving], timeout=10)
        assert await store.zcard("roomcast:gateways") == 0
        await eventually(lambda: store.keys("roomcast:presence:*"), is_=[])
        assert await store.keys("roomcast:interest:[cu]*:*") == []


async def test_without_sockets_it_ends_at_once() -> None:
    """Nothing to wait for, even with connections that never asked for a socket."""
    async with fakeredis.FakeAsyncRedis() as store, running_gateway(store) as gateway:
        async with aiohttp.ClientSession() as http:
            async with http.get(f"{gateway.url}/socket.io/?EIO=4&transport=polling") as response:
                assert response.status == 200
            async with http.ws_connect(f"{gateway.url}/socket.io/?EIO=4&transport=websocket") as websocket:
                await websocket.receive()
                gateway.stop.set()
                async with asyncio.timeout(2):
                    while (await websocket.receive()).type != aiohttp.WSMsgType.CLOSE:
                        pass
        async with asyncio.timeout(2):
            await asyncio.shield(gateway.serving)
