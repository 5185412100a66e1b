"""Access tokens that the API did not issue."""

import base64
import hashlib
import hmac
import time
from typing import Any

import jwt
import orjson
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey


def claims_of(token: str) -> dict[str, Any]:
    """Reads a token's claims, unverified."""
    claims: dict[str, Any] = jwt.decode(token, options={"verify_signature": False})
    return claims


def reissued(
    token: str,
    key: Ed25519PrivateKey | str,
    *,
    algorithm: str = "EdDSA",
    header: dict[str, Any] | None = None,
    without: tuple[str, ...] = (),
    **changes: Any,
) -> str:
    """`token` with some claims and headers changed, signed with `key`. A header of None is left out."""
    claims = {name: value for name, value in {**claims_of(token), **changes}.items() if name not in without}
    headers = {**jwt.get_unverified_header(token), **(header or {})}
    headers.pop("alg", None)
    kept = {name: value for name, value in headers.items() if value is not None}
    return jwt.encode(claims, key, algorithm=algorithm, headers=kept)


def expiring(token: str, key: Ed25519PrivateKey, *, seconds: int) -> str:
    """The same token with another expiry, from now."""
    return reissued(token, key, exp=int(time.time()) + seconds)


def tampered(token: str, **changes: Any) -> str:
    """The token with other claims under its old signature."""
    head, _, signature = token.split(".")
    body = base64.urlsafe_b64encode(orjson.dumps({**claims_of(token), **changes})).rstrip(b"=").decode()
    return f"{head}.{body}.{signature}"


def unsigned(token: str) -> str:
    """The token with `alg: none` and no signature."""
    return reissued(token, "", algorithm="none")


def signed_with_public_key(token: str, public: bytes) -> str:
    """The token under HS256, with the published key as the secret.

    PyJWT refuses to take a public key as a secret, which is why this is done by hand.
    """

    header = {**jwt.get_unverified_header(token), "alg": "HS256"}
    parts = [base64.urlsafe_b64encode(orjson.dumps(part)).rstrip(b"=") for part in (header, claims_of(token))]
    signing = b".".join(parts)
    signature = base64.urlsafe_b64encode(hmac.new(public, signing, hashlib.sha256).digest()).rstrip(b"=")
    return (signing + b"." + signature).decode()
