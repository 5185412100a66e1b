"""Every attack on a token."""

import hashlib
import hmac
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed448, rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from unit.auth.signed import GOOD, KEY, OneKey, encoded, refusal, signed, token

from shared.auth.tokens import Verifier


async def test_unsigned_tokens_are_refused(verifier: Verifier) -> None:
    """`alg: none`, in any writing, with or without a signature."""
    for algorithm in ("none", "None", "NONE", ""):
        header = {"alg": algorithm, "kid": "first"}
        assert await refusal(verifier, signed(GOOD, header=header)) == "token_invalid"
        bare = (encoded(header) + b"." + encoded(GOOD) + b".").decode()
        assert await refusal(verifier, bare) == "token_invalid"


@pytest.mark.parametrize("algorithm", ["HS256", "HS384", "HS512"])
async def test_the_public_key_is_no_secret(verifier: Verifier, algorithm: str) -> None:
    """A signature made with the published key, in any of its forms, is none."""
    public = KEY.public_key()
    digest = {"HS256": hashlib.sha256, "HS384": hashlib.sha384, "HS512": hashlib.sha512}[algorithm]
    forms = [
        public.public_bytes_raw(),
        public.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo),
        public.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo),
    ]
    for secret in forms:
        signing = encoded({"alg": algorithm, "kid": "first"}) + b"." + encoded(GOOD)
        forged = signing + b"." + encoded(hmac.new(secret, signing, digest).digest())
        assert await refusal(verifier, forged.decode()) == "token_invalid"


async def test_other_algorithms_are_refused(verifier: Verifier) -> None:
    """Good signatures of other kinds, under the id of a known key."""
    others: list[tuple[str, Any]] = [
        ("RS256", rsa.generate_private_key(65537, 2048)),
        ("ES256", ec.generate_private_key(ec.SECP256R1())),
        ("EdDSA", ed448.Ed448PrivateKey.generate()),
    ]
    for algorithm, key in others:
        forged = jwt.encode(GOOD, key, algorithm=algorithm, headers={"kid": "first"})
        assert await refusal(verifier, forged) == "token_invalid"


@pytest.mark.parametrize("kid", [None, 7, "", "x" * 256, ["first"]])
async def test_a_token_names_its_key(verifier: Verifier, kid: object) -> None:
    """A missing or malformed `kid` is refused."""
    header = {"alg": "EdDSA"} if kid is None else {"alg": "EdDSA", "kid": kid}
    assert await refusal(verifier, signed(GOOD, header=header)) == "token_invalid"


async def test_unknown_and_swapped_keys_are_refused(verifier: Verifier, keys: OneKey) -> None:
    """The `kid` chooses the key; another key's signature does not fit it."""
    assert await refusal(verifier, signed(GOOD, header={"alg": "EdDSA", "kid": "second"})) == "token_invalid"
    keys.keys["second"] = Ed25519PrivateKey.generate().public_key()
    assert await refusal(verifier, signed(GOOD, header={"alg": "EdDSA", "kid": "second"})) == "token_invalid"
    assert await refusal(verifier, signed(GOOD, key=Ed25519PrivateKey.generate())) == "token_invalid"


async def test_keys_in_the_header_are_not_trusted(verifier: Verifier) -> None:
    """`jwk`, `jku` and unknown `crit` extensions buy nothing."""
    mallory = Ed25519PrivateKey.generate()
    jwk = {"kty": "OKP", "crv": "Ed25519", "x": encoded(mallory.public_key().public_bytes_raw()).decode()}
    header = {"alg": "EdDSA", "kid": "first", "jwk": jwk, "jku": "https://example.org/keys"}
    assert await refusal(verifier, signed(GOOD, header=header, key=mallory)) == "token_invalid"
    critical = {"alg": "EdDSA", "kid": "first", "crit": ["exp"], "exp": 1}
    assert await refusal(verifier, signed(GOOD, header=critical)) == "token_invalid"


async def test_a_tampered_token_is_refused(verifier: Verifier) -> None:
    """A change of any part."""
    head, body, signature = token().split(".")
    mallory = encoded({**GOOD, "sub": "mallory"}).decode()
    for forged in (
        f"{head}.{mallory}.{signature}",
        f"{head}.{body}.{signature[:-8]}AAAAAAAA",
        f"{head}.{body}.",
        f"{head}.{body}",
        f"{head}.{body}.{signature}.{signature}",
        f"{head}..{signature}",
        f"x{head}.{body}.{signature}",
    ):
        assert await refusal(verifier, forged) == "token_invalid"


@pytest.mark.parametrize("payload", [b"not json", b"[]", b'"x"', b"null", b"\xff", b'{"exp": NaN}'])
async def test_claims_are_an_object(verifier: Verifier, payload: bytes) -> None:
    """A signed payload of any other shape is refused."""
    assert await refusal(verifier, signed(payload)) == "token_invalid"


@pytest.mark.parametrize("rubbish", ["x", "a.b.c", "....", "é.é.é", "\0", "\ud800", " ", "x" * 100_000])
async def test_rubbish_is_refused(verifier: Verifier, rubbish: str) -> None:
    """No exception but the refusal."""
    assert await refusal(verifier, rubbish) == "token_invalid"


async def test_a_huge_token_is_refused_undecoded(verifier: Verifier) -> None:
    """Well signed and too long."""
    assert await refusal(verifier, token(name="x" * 10_000)) == "token_invalid"
