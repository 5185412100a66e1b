"""Tokens signed with one key, and what a verifier says of them."""

import base64
from typing import Any

import orjson
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from shared.auth.jwks import KeysUnavailableError
from shared.auth.tokens import TokenRefusedError, Verifier

KEY = Ed25519PrivateKey.generate()
NOW = 1_800_000_000
GOOD: dict[str, Any] = {
    "iss": "roomcast",
    "aud": "roomcast",
    "sub": "ada",
    "name": "Ada",
    "sid": "session",
    "iat": NOW,
    "exp": NOW + 900,
    "jti": "token",
}


class OneKey:
    """Knows one key."""

    def __init__(self) -> None:
        self.keys: dict[str, Ed25519PublicKey] = {"first": KEY.public_key()}
        self.away = False

    async def key(self, kid: str) -> Ed25519PublicKey | None:
        if self.away and kid not in self.keys:
            raise KeysUnavailableError
        return self.keys.get(kid)


class Clock:
    """Stands still until it is moved."""

    def __init__(self) -> None:
        self.now = float(NOW)

    def __call__(self) -> float:
        return self.now


def encoded(part: object) -> bytes:
    raw = part if isinstance(part, bytes) else orjson.dumps(part)
    return base64.urlsafe_b64encode(raw).rstrip(b"=")


def signed(claims: object, *, header: dict[str, Any] | None = None, key: Ed25519PrivateKey = KEY) -> str:
    """A token with any header and any payload, and a good signature."""
    head = {"alg": "EdDSA", "kid": "first", "typ": "JWT"} if header is None else header
    signing = encoded(head) + b"." + encoded(claims)
    return (signing + b"." + encoded(key.sign(signing))).decode()


def token(*without: str, **changes: Any) -> str:
    return signed({name: value for name, value in {**GOOD, **changes}.items() if name not in without})


async def refusal(verifier: Verifier, bad: str) -> str:
    with pytest.raises(TokenRefusedError) as refused:
        await verifier.verify(bad)
    return refused.value.code
