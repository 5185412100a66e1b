"""Tokens: what makes one trusted, and every attack on it."""

import base64
import hashlib
import hmac
import time
from typing import Any

import jwt
import orjson
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed448, rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from shared.auth.jwks import KeysUnavailableError
from shared.auth.tokens import Claims, TokenRefusedError, Verifier

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


@pytest.fixture
def keys() -> OneKey:
    return OneKey()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def verifier(keys: OneKey, clock: Clock) -> Verifier:
    return Verifier(keys, issuer="roomcast", audience="roomcast", clock=clock)


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


async def test_a_good_token_says_who_calls(verifier: Verifier) -> None:
    """Every claim arrives."""
    assert await verifier.verify(token()) == Claims(
        user_id="ada",
        name="Ada",
        session_id="session",
        issued_at=NOW,
        expires_at=NOW + 900,
        token_id="token",
        key_id="first",
    )


@pytest.mark.parametrize("audience", ["roomcast", ["other", "roomcast"]])
async def test_the_audience_may_be_one_of_several(verifier: Verifier, audience: object) -> None:
    """RFC 7519: a string, or an array of strings."""
    assert (await verifier.verify(token(aud=audience))).user_id == "ada"


async def test_no_token_is_missing(verifier: Verifier) -> None:
    """An absent token is told from a bad one."""
    assert await refusal(verifier, "") == "token_missing"


@pytest.mark.parametrize("claim", ["iss", "aud", "sub", "exp"])
async def test_what_must_be_there_must_be_there(verifier: Verifier, claim: str) -> None:
    """A token without it is refused, however well signed."""
    assert await refusal(verifier, token(claim)) == "token_invalid"


@pytest.mark.parametrize(
    "changes",
    [
        {"iss": "another"},
        {"iss": ["roomcast"]},
        {"iss": None},
        {"aud": "another"},
        {"aud": []},
        {"aud": ["another"]},
        {"aud": {"roomcast": 1}},
        {"aud": None},
        {"sub": ""},
        {"sub": 7},
        {"sub": None},
        {"sub": ["ada"]},
        {"sub": "a\0b"},
        {"sub": "x" * 256},
        {"sid": 7},
        {"sid": ""},
        {"jti": 7},
        {"name": 7},
        {"name": "a\0b"},
        {"exp": "2027"},
        {"exp": None},
        {"exp": True},
        {"exp": -1},
        {"exp": 1e300},
        {"exp": [NOW + 900]},
        {"iat": "now"},
        {"nbf": {}},
    ],
)
async def test_claims_of_the_wrong_kind_are_refused(verifier: Verifier, changes: dict[str, Any]) -> None:
    """Types and bounds are checked, not trusted."""
    assert await refusal(verifier, token(**changes)) == "token_invalid"


async def test_an_expired_token_is_told_from_an_invalid_one(verifier: Verifier) -> None:
    """`token_expired` only when all else is right; a client then refreshes."""
    assert await refusal(verifier, token(exp=NOW)) == "token_expired"
    assert await refusal(verifier, token(exp=NOW - 1, aud="another")) == "token_invalid"
    stolen = signed({**GOOD, "exp": NOW - 1}, key=Ed25519PrivateKey.generate())
    assert await refusal(verifier, stolen) == "token_invalid"


@pytest.mark.parametrize("claim", ["iat", "nbf"])
async def test_a_token_of_the_future_is_refused(verifier: Verifier, claim: str) -> None:
    """Clocks may differ by 30 s, not by more."""
    assert (await verifier.verify(token(**{claim: NOW + 30}))).user_id == "ada"
    assert await refusal(verifier, token(**{claim: NOW + 31})) == "token_invalid"


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


async def test_a_remembered_token_expires(verifier: Verifier, clock: Clock) -> None:
    """A token that was good once is refused from its expiry on."""
    good = token()
    await verifier.verify(good)
    clock.now = NOW + 899.9
    await verifier.verify(good)
    clock.now = NOW + 900
    assert await refusal(verifier, good) == "token_expired"


async def test_a_remembered_token_goes_with_its_key(verifier: Verifier, keys: OneKey) -> None:
    """A key taken out of the set takes its tokens along at once."""
    good = token()
    await verifier.verify(good)
    del keys.keys["first"]
    assert await refusal(verifier, good) == "token_invalid"


async def test_keys_that_are_away_are_no_refusal(verifier: Verifier, keys: OneKey) -> None:
    """A client must not throw a good token away because the issuer is down."""
    keys.away = True
    with pytest.raises(KeysUnavailableError):
        await verifier.verify(signed(GOOD, header={"alg": "EdDSA", "kid": "second"}))


async def test_memory_is_bounded(keys: OneKey, clock: Clock) -> None:
    """It remembers the last tokens used, not all of them."""
    verifier = Verifier(keys, issuer="roomcast", audience="roomcast", clock=clock, remembered=3)
    for number in range(10):
        await verifier.verify(token(jti=str(number)))
    assert len(verifier._verified) == 3


async def test_a_foreign_issuer_may_say_less(verifier: Verifier) -> None:
    """Without `sid` the token is its own session; without `name` there is the username, or the id."""
    said = await verifier.verify(token("sid", "name", "iat"))
    assert (said.session_id, said.name, said.issued_at) == ("token", "ada", 0)
    said = await verifier.verify(token("sid", "jti", "name", preferred_username="countess"))
    assert (said.name, said.username) == ("countess", "countess")
    assert len(said.session_id) == 64
    assert (await verifier.verify(token(name="x" * 200))).name == "x" * 80


async def test_the_real_clock_is_the_default(keys: OneKey) -> None:
    """A token of now is good without any clock given."""
    verifier = Verifier(keys, issuer="roomcast", audience="roomcast")
    now = int(time.time())
    assert (await verifier.verify(token(iat=now, exp=now + 5))).user_id == "ada"
