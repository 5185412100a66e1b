"""Tokens: what makes one trusted, and every attack on it."""

import time
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from unit.auth.signed import GOOD, NOW, Clock, OneKey, refusal, signed, token

from shared.auth.jwks import KeysUnavailableError
from shared.auth.tokens import Claims, Verifier


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
