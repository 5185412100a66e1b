"""Accounts and sessions on a real PostgreSQL and a real Redis."""

import asyncio
import hashlib
import time

import jwt
import pytest
from integration.accounts.office import PASSWORD, Office, a_name

from chat_api.accounts.sessions import Session
from chat_api.http.problems import (
    BadCredentials,
    NotFound,
    RateLimited,
    UsernameTaken,
)
from chat_api.http.rate_limits import FailedLogins


async def test_registering_logs_in(office: Office) -> None:
    """The username is folded, the name kept as typed; the token carries what the contract says."""
    name = a_name()
    session = await office.accounts.register(name.upper(), PASSWORD, "", address="::1")
    assert (session.user.username, session.user.display_name) == (name, name.upper())
    assert session.expires_in == 900
    assert jwt.get_unverified_header(session.access_token)["kid"] == office.keys.ring.kid
    claims = jwt.decode(session.access_token, options={"verify_signature": False})
    assert set(claims) == {"iss", "aud", "sub", "name", "sid", "iat", "exp", "jti"}
    assert (claims["sub"], claims["name"]) == (session.user.id, name.upper())
    assert await office.accounts.user(session.user.id) == session.user
    assert (await office.caller(session)).user_id == session.user.id


async def test_secrets_are_not_stored(office: Office) -> None:
    """Of a password the argon2id hash, of a refresh token a digest."""
    session = await office.registered()
    row = await office.database.connection.fetchrow("SELECT * FROM users WHERE id = $1", session.user.id)
    assert row is not None
    assert row["password_hash"].startswith("$argon2id$")
    digest = hashlib.sha256(session.refresh_token.encode()).digest()
    query = "SELECT count(*) FROM refresh_tokens WHERE hash = $1"
    assert await office.database.connection.fetchval(query, digest) == 1


async def test_a_username_is_given_once(office: Office) -> None:
    """Also to those who ask at the same time, and whatever the case."""
    name = a_name()
    asked = [
        office.accounts.register(name.upper() if number % 2 else name, PASSWORD, "", address="::1")
        for number in range(8)
    ]
    got = await asyncio.gather(*asked, return_exceptions=True)
    assert sum(isinstance(one, Session) for one in got) == 1
    assert sum(isinstance(one, UsernameTaken) for one in got) == 7


async def test_logging_in_opens_another_session(office: Office) -> None:
    """The same user, another `sid`; the username in any case."""
    first = await office.registered()
    second = await office.accounts.login(first.user.username.upper(), PASSWORD, address="192.0.2.1")
    assert second.user == first.user
    assert (await office.claims(first)).session_id != (await office.claims(second)).session_id


async def test_bad_credentials_look_alike(office: Office) -> None:
    """A wrong password, an unknown user, one without a password: the same answer after the same work."""
    known = (await office.registered()).user.username
    foreign = await office.database.user()
    took = {}
    for name in (known, a_name(), foreign):
        started = time.perf_counter()
        with pytest.raises(BadCredentials) as refused:
            await office.accounts.login(name, "wrong password", address="192.0.2.1")
        took[name] = time.perf_counter() - started
        assert refused.value.detail == BadCredentials.__doc__
    assert max(took.values()) < 10 * min(took.values())
    assert min(took.values()) > 0.005


async def test_guessing_is_limited(office: Office) -> None:
    """Ten failures a minute for a name and address, however many try at once; elsewhere it goes on."""
    name = (await office.registered()).user.username
    guesses = [*(f"guess {number}" for number in range(59)), PASSWORD]
    tries = [office.accounts.login(name, guess, address="192.0.2.1") for guess in guesses]
    got = await asyncio.gather(*tries, return_exceptions=True)
    wrong = sum(isinstance(one, BadCredentials) for one in got)
    limited = [one for one in got if isinstance(one, RateLimited)]
    assert 10 <= wrong <= 20
    assert wrong + len(limited) == 60
    assert 1 <= int(limited[0].headers["Retry-After"]) <= 60
    with pytest.raises(RateLimited):
        await office.accounts.login(name, PASSWORD, address="192.0.2.1")
    await office.accounts.login(name, PASSWORD, address="192.0.2.2")


async def test_guessing_from_many_addresses_is_limited(office: Office) -> None:
    """A hundred failures a minute for a username, wherever they come from; other names are not touched."""
    name, other = [(await office.registered()).user.username for _ in range(2)]
    for number in range(100):
        FailedLogins(office.accounts._limits, name, f"192.0.2.{number}").count()
    with pytest.raises(RateLimited):
        await office.accounts.login(name, PASSWORD, address="192.0.2.200")
    await office.accounts.login(other, PASSWORD, address="192.0.2.1")


async def test_a_good_login_is_never_limited(office: Office) -> None:
    """Only failures count."""
    name = (await office.registered()).user.username
    sessions = await asyncio.gather(
        *(office.accounts.login(name, PASSWORD, address="192.0.2.1") for _ in range(15))
    )
    assert len({session.refresh_token for session in sessions}) == 15


async def test_registrations_are_limited_by_address(office: Office) -> None:
    """300 at once from one address; another address is not touched."""
    for _ in range(300):
        office.accounts._limits.registrations.take("192.0.2.1")
    with pytest.raises(RateLimited):
        await office.accounts.register(a_name(), PASSWORD, "", address="192.0.2.1")
    await office.accounts.register(a_name(), PASSWORD, "", address="192.0.2.2")


async def test_users_are_found_by_their_exact_name(office: Office) -> None:
    """One or none; no wildcard."""
    user = (await office.registered()).user
    assert await office.accounts.named(user.username.upper()) == [user]
    for name in (user.username[:-1], user.username[:-1] + "_", "%", "ü", ""):
        assert await office.accounts.named(name) == []
    with pytest.raises(NotFound):
        await office.accounts.user("nobody")
