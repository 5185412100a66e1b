"""Handshakes: who may connect, and how a refusal reads."""

from collections.abc import Callable
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from support.client_kinds import Connect, NewClient, Register, each_client
from support.clients import RefusedError
from support.forging import expiring, reissued, signed_with_public_key, tampered, unsigned
from support.rest import Person
from support.stack import Stack


async def refusal(client_of: NewClient, kind: str, url: str, **how: Any) -> str:
    """The `data.code` of the `connect_error`."""
    with pytest.raises(RefusedError) as caught:
        await client_of(kind).connect(url, **how)
    return str(caught.value.code)


@each_client
async def test_each_refusal_has_its_code(
    stack: Stack, new_client: NewClient, register: Register, client_kind: str
) -> None:
    """No token, a broken one, an expired one, a foreign origin: a `connect_error` with its code."""
    alice = await register("alice")
    url = stack.gateway.url
    for auth in (None, {}, {"other": 1}, {"token": None}):
        assert await refusal(new_client, client_kind, url, auth=auth) == "token_missing", auth
    for token in ("x", "a.b.c", alice.token + "x", 7, ["x"], {"token": alice.token}):
        code = await refusal(new_client, client_kind, url, auth={"token": token})
        assert code in {"token_invalid", "token_missing"}, token
    assert await refusal(new_client, client_kind, url, auth={"token": "x" * 5_000}) == "token_invalid"
    old = expiring(alice.token, stack.key, seconds=-60)
    assert await refusal(new_client, client_kind, url, auth={"token": old}) == "token_expired"
    for origin in ("http://evil.example", "null", f"{url}.evil.example", url.replace("http:", "https:")):
        headers = {"Origin": origin}
        code = await refusal(new_client, client_kind, url, auth={"token": alice.token}, headers=headers)
        assert code == "origin_forbidden", origin
        assert await refusal(new_client, client_kind, url, headers=headers) == "origin_forbidden", origin


@each_client
async def test_own_origins_are_welcome(
    stack: Stack, new_client: NewClient, register: Register, client_kind: str
) -> None:
    """The API's and the gateway's own address, by `localhost` as by `127.0.0.1`."""
    alice = await register("alice")
    for service in (stack.api, stack.gateway):
        for origin in (service.url, service.url.replace("127.0.0.1", "localhost")):
            socket = new_client(client_kind)
            await socket.connect(stack.gateway.url, auth={"token": alice.token}, headers={"Origin": origin})
            await socket.wait("connected")


Forge = Callable[[str, Stack, bytes], str]
FORGERIES: dict[str, tuple[Forge, str]] = {
    "none": (lambda token, stack, public: unsigned(token), "token_invalid"),
    "HS256 with the public key": (
        lambda token, stack, public: signed_with_public_key(token, public),
        "token_invalid",
    ),
    "another key": (lambda token, stack, public: reissued(token, _other_key()), "token_invalid"),
    "unknown kid": (
        lambda token, stack, public: reissued(token, stack.key, header={"kid": "no-such-key"}),
        "token_invalid",
    ),
    "no kid": (
        lambda token, stack, public: reissued(token, stack.key, header={"kid": None}),
        "token_invalid",
    ),
    "wrong aud": (lambda token, stack, public: reissued(token, stack.key, aud="other"), "token_invalid"),
    "wrong iss": (lambda token, stack, public: reissued(token, stack.key, iss="other"), "token_invalid"),
    "no aud": (lambda token, stack, public: reissued(token, stack.key, without=("aud",)), "token_invalid"),
    "no exp": (lambda token, stack, public: reissued(token, stack.key, without=("exp",)), "token_invalid"),
    "no sub": (lambda token, stack, public: reissued(token, stack.key, without=("sub",)), "token_invalid"),
    "sub no text": (lambda token, stack, public: reissued(token, stack.key, sub=7), "token_invalid"),
    "not yet valid": (lambda token, stack, public: reissued(token, stack.key, nbf=_far()), "token_invalid"),
    "expired": (lambda token, stack, public: expiring(token, stack.key, seconds=-60), "token_expired"),
    "tampered": (lambda token, stack, public: tampered(token, sub="someone-else"), "token_invalid"),
    "stripped signature": (lambda token, stack, public: token.rpartition(".")[0] + ".", "token_invalid"),
}


def _other_key() -> Any:

    return Ed25519PrivateKey.generate()


def _far() -> int:
    return 4_000_000_000


async def test_a_reissued_token_is_taken(stack: Stack, connect: Connect, register: Register) -> None:
    """The forgeries below are refused for what they change."""
    alice = await register("alice")
    token = reissued(alice.token, stack.key, jti="another")
    assert (await alice.api.call("GET", "/api/me", token=token)).status == 200
    await connect(alice, token=token)


@pytest.mark.parametrize("forgery", FORGERIES)
async def test_forged_tokens_are_refused_everywhere(
    stack: Stack, new_client: NewClient, someone: Person, forgery: str
) -> None:
    """The API answers 401 and the gateway a `connect_error`, with the same code."""
    (jwk, *_) = (await someone.api.call("GET", "/.well-known/jwks.json")).expect(200)["keys"]
    forge, code = FORGERIES[forgery]
    token = forge(someone.token, stack, str(jwk["x"]).encode())
    answer = await someone.api.call("GET", "/api/me", token=token)
    assert (answer.status, answer.code) == (401, code)
    assert answer.headers["content-type"].startswith("application/problem+json")
    assert await refusal(new_client, "js-websocket", stack.gateway.url, auth={"token": token}) == code


async def test_published_keys_are_public(stack: Stack, register: Register) -> None:
    """The JWKS holds Ed25519 public keys with their `kid`, and nothing private."""
    alice = await register("alice")
    keys = (await alice.api.call("GET", "/.well-known/jwks.json")).expect(200)["keys"]
    assert keys
    for key in keys:
        assert (key["kty"], key["crv"]) == ("OKP", "Ed25519")
        assert key["kid"]
        assert "d" not in key
