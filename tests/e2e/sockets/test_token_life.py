"""The end of a token reaches every gateway; a server that is away ends none."""

import time
from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from support.client_kinds import NewClient
from support.clients import SocketClient
from support.gateways import eventually
from support.rest import Api, Person
from support.servers import PostgresServer, RabbitServer, RedisServer
from support.stack import Service, Services

WITHIN_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Pair:
    """Two gateways of one API."""

    stack: Services
    api: Api
    gateways: tuple[Service, Service]

    async def sockets(
        self, make: NewClient, person: Person, chat_id: str | None = None
    ) -> list[SocketClient]:
        """A socket of `person` at each gateway, in the room of `chat_id`."""
        opened = []
        for gateway in self.gateways:
            client = make("python-websocket")
            await client.connect(gateway.url, auth={"token": person.token})
            await client.wait("connected")
            if chat_id is not None:
                assert (await client.emit("join-chat", chat_id))["ok"]
            opened.append(client)
        return opened


@pytest.fixture(scope="module")
async def pair(
    postgres: PostgresServer, rabbitmq: RabbitServer, redis_server: RedisServer
) -> AsyncIterator[Pair]:
    urls = {
        "DATABASE_URL": await postgres.new_database(),
        "RABBITMQ_URL": rabbitmq.url,
        "REDIS_URL": redis_server.url,
    }
    async with Services(**urls) as stack:
        second = await stack.add("gateway")
        async with Api(stack.api.url) as api:
            yield Pair(stack, api, (stack.gateway, second))


async def test_a_reused_refresh_token_ends_sockets_everywhere(pair: Pair, new_client: NewClient) -> None:
    """Within a second, on both gateways."""
    alice = await pair.api.register("alice")
    sockets = await pair.sockets(new_client, alice)
    spent = {"refreshToken": alice.session["refreshToken"]}
    (await pair.api.call("POST", "/api/auth/refresh", spent)).expect(200)
    assert (await pair.api.call("POST", "/api/auth/refresh", spent)).code == "token_reused"
    answered = time.monotonic()
    for socket in sockets:
        await socket.wait_disconnected(seconds=5)
    assert time.monotonic() - answered < WITHIN_SECONDS


async def test_a_removed_member_is_out_everywhere(pair: Pair, new_client: NewClient) -> None:
    """Within a second the sockets on both gateways are told; nothing posted after the 204 reaches them."""
    alice, bob = await pair.api.register("alice"), await pair.api.register("bob")
    chat_id = await alice.open_chat(bob)
    sockets = await pair.sockets(new_client, bob, chat_id)
    (await alice.call("DELETE", f"/api/chat/{chat_id}/members/{bob.id}")).expect(204)
    answered = time.monotonic()
    await alice.say(chat_id, "without bob")
    for socket in sockets:
        await socket.wait("member-removed", seconds=5)
    assert time.monotonic() - answered < WITHIN_SECONDS
    for socket in sockets:
        assert (await socket.emit("leave-chat", chat_id))["error"]["code"] == "not_joined"
        assert not socket.bodies("new-msg")


async def test_a_rotated_key_is_taken_up_without_a_restart(pair: Pair, new_client: NewClient) -> None:
    """Tokens of the new key open sockets at both gateways at once; those of the old one go on."""
    alice = await pair.api.register("alice")
    old = await pair.sockets(new_client, alice)
    file = pair.stack._folder.path / "key.pem"
    former = file.read_bytes()
    new = Ed25519PrivateKey.generate()
    file.write_bytes(new.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()) + former)

    async def same_key() -> bool:
        token = (await pair.api.register("bob")).token
        return token.partition(".")[0] == alice.token.partition(".")[0]

    await eventually(same_key, is_=False)
    bob = await pair.api.register("bob")
    for socket in await pair.sockets(new_client, bob):
        assert (await socket.emit("heartbeat"))["ok"]
    await pair.sockets(new_client, alice)
    for socket in old:
        assert (await socket.emit("heartbeat"))["ok"]


async def test_without_the_api_sockets_stay_and_new_ones_come(pair: Pair, new_client: NewClient) -> None:
    """A token of a known key connects; what needs the API is `unavailable` meanwhile."""
    alice = await pair.api.register("alice")
    chat_id = await alice.open_chat()
    sockets = await pair.sockets(new_client, alice, chat_id)
    api = pair.stack.apis.pop()
    api.process.kill()
    sockets += await pair.sockets(new_client, alice)
    for socket in sockets:
        assert (await socket.emit("heartbeat"))["ok"]
        assert socket.disconnected is None
    answer = await sockets[-1].emit("join-chat", chat_id)
    assert answer["error"]["code"] == "unavailable"
    for gateway in pair.gateways:
        assert await gateway.status("/readyz") == 200
    await pair.stack.add("api", API_PORT=pair.stack.settings["API_PORT"])  # the tests after this one need it
