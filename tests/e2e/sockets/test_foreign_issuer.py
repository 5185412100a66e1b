"""Users of another issuer: its keys by JWKS, no account here beforehand."""

import base64
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass

import jwt
import pytest
from aiohttp import web
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from support.client_kinds import NewClient
from support.clients import RefusedError
from support.rest import Api, Person
from support.servers.ports import free_port
from support.stack import Service, Services

ISSUER = "https://login.example"


class Issuer:
    """An identity provider: a JWKS that can rotate, and tokens."""

    def __init__(self) -> None:
        self.keys = {"first": Ed25519PrivateKey.generate()}
        self.fetches = 0

    async def jwks(self, _: web.Request) -> web.Response:
        self.fetches += 1
        return web.json_response({"keys": [self._jwk(kid, key) for kid, key in self.keys.items()]})

    def token(self, user_id: str, *, kid: str = "first", **claims: object) -> str:
        now = int(time.time())
        all_claims = {
            "iss": ISSUER,
            "aud": "roomcast",
            "sub": user_id,
            "name": "Zoe",
            "sid": "foreign-session",
            "iat": now,
            "exp": now + 600,
            "jti": "1",
            **claims,
        }
        return jwt.encode(all_claims, self.keys[kid], algorithm="EdDSA", headers={"kid": kid})

    @staticmethod
    def _jwk(kid: str, key: Ed25519PrivateKey) -> dict[str, str]:
        raw = key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
        x = base64.urlsafe_b64encode(raw).rstrip(b"=").decode()
        return {"kty": "OKP", "crv": "Ed25519", "kid": kid, "x": x, "use": "sig", "alg": "EdDSA"}


@dataclass(frozen=True, slots=True)
class Foreign:
    """An API and a gateway that trust another issuer."""

    issuer: Issuer
    api: Api
    gateway: Service


@pytest.fixture(scope="module")
async def foreign(services: Services) -> AsyncIterator[Foreign]:
    """A small JWKS server, an API and a gateway beside the stack's."""
    issuer = Issuer()
    app = web.Application()
    app.router.add_get("/keys", issuer.jwks)
    runner = web.AppRunner(app)
    await runner.setup()
    port = free_port()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    settings = {"JWKS_URL": f"http://127.0.0.1:{port}/keys", "JWT_ISSUER": ISSUER}
    served = await services.add("api", **settings)
    gateway = await services.add("gateway", API_URL=served.url, **settings)
    async with Api(served.url) as api:
        yield Foreign(issuer, api, gateway)
    await services.remove(gateway)
    await services.remove(served)
    await runner.cleanup()


def person(foreign: Foreign, user_id: str, **claims: object) -> Person:
    """A user whom the issuer vouches for."""
    token = foreign.issuer.token(user_id, **claims)  # type: ignore[arg-type] # claims of any kind
    return Person(foreign.api, {"user": {"id": user_id}, "accessToken": token})


@pytest.mark.parametrize("user_id", ["auth0|5f7c", "zoe@example.org", "x" * 255, "名 前/?#"])
async def test_a_stranger_with_a_good_token_is_a_user(
    foreign: Foreign, new_client: NewClient, user_id: str
) -> None:
    """A user row is made on first sight, and everything works from then on."""
    zoe = person(foreign, user_id)
    me = await zoe.get("/api/me")
    assert (me["id"], me["displayName"]) == (user_id, "Zoe")
    chat_id = await zoe.open_chat()
    socket = new_client("js-websocket")
    await socket.connect(foreign.gateway.url, auth={"token": zoe.token})
    assert (await socket.wait("connected"))["userId"] == user_id
    ack = await socket.emit("join-chat", chat_id)
    assert ack["ok"], ack
    assert ack["online"] == [user_id]
    posted = await zoe.say(chat_id, "hello")
    assert posted["userId"] == user_id
    assert await socket.wait("new-msg") == posted


async def test_a_gateway_may_see_a_user_first(foreign: Foreign, new_client: NewClient) -> None:
    """Connecting before any REST call is fine, too."""
    zoe = person(foreign, "gateway-first")
    socket = new_client("python-websocket")
    await socket.connect(foreign.gateway.url, auth={"token": zoe.token})
    await socket.wait("connected")
    chat_id = await zoe.open_chat()
    assert (await socket.wait("chat-created"))["id"] == chat_id


async def test_keys_rotate_without_a_restart(foreign: Foreign, new_client: NewClient) -> None:
    """A token with a new `kid` is taken as soon as the issuer publishes the key."""
    foreign.issuer.keys["second"] = Ed25519PrivateKey.generate()
    zoe = person(foreign, "rotated", kid="second")
    assert (await zoe.call("GET", "/api/me")).status == 200
    socket = new_client("js-websocket")
    await socket.connect(foreign.gateway.url, auth={"token": zoe.token})
    await socket.wait("connected")


async def test_unknown_keys_are_not_fetched_again_and_again(foreign: Foreign, new_client: NewClient) -> None:
    """Tokens with made-up `kid`s cannot make the services hammer the issuer."""
    before = foreign.issuer.fetches
    for number in range(15):
        kid = f"made-up-{number}"
        foreign.issuer.keys[kid] = Ed25519PrivateKey.generate()
        token = foreign.issuer.token("eve", kid=kid)
        del foreign.issuer.keys[kid]
        assert (await foreign.api.call("GET", "/api/me", token=token)).status == 401
        with pytest.raises(RefusedError):
            await new_client("python-websocket").connect(foreign.gateway.url, auth={"token": token})
    assert foreign.issuer.fetches - before <= 4


async def test_the_other_issuer_s_word_is_not_ours(foreign: Foreign, services: Services) -> None:
    """The stack's own API does not take the foreign token, nor the foreign API ours."""
    token = foreign.issuer.token("zoe")
    async with Api(services.api.url) as own:
        assert (await own.call("GET", "/api/me", token=token)).status == 401
        alice = await own.register("alice")
    assert (await foreign.api.call("GET", "/api/me", token=alice.token)).status == 401
