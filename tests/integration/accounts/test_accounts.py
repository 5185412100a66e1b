"""Accounts and sessions on a real PostgreSQL and a real Redis."""

import asyncio
import hashlib
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from pathlib import Path

import jwt
import pytest
from redis.asyncio import Redis
from sqlalchemy.ext.asyncio import AsyncEngine
from support.database import Database
from support.servers import RedisServer

from chat_api.accounts.accounts import Accounts
from chat_api.accounts.authentication import BearerAuthenticator
from chat_api.accounts.foreign_users import ForeignUsers
from chat_api.accounts.passwords import Passwords
from chat_api.accounts.sessions import Session, Sessions
from chat_api.accounts.signing_keys import SigningKeys
from chat_api.http.endpoints import Caller
from chat_api.http.problems import (
    BadCredentials,
    Forbidden,
    NotFound,
    RateLimited,
    TokenExpired,
    TokenInvalid,
    TokenMissing,
    TokenReused,
    UsernameTaken,
)
from chat_api.http.rate_limits import FailedLogins, Limits
from shared.auth.tokens import Claims, Verifier
from shared.ids import new_id
from shared.store.ended_sessions import EndedSessions

PASSWORD = "correct horse battery"


@dataclass(frozen=True)
class Office:
    """Everything about accounts, wired as the API wires it."""

    database: Database
    keys: SigningKeys
    sessions: Sessions
    accounts: Accounts
    authenticator: BearerAuthenticator
    verifier: Verifier
    passwords: Passwords
    ended: EndedSessions

    async def registered(self) -> Session:
        return await self.accounts.register(a_name(), PASSWORD, "", address="::1")

    async def caller(self, session: Session) -> Caller:
        return await self.authenticator.authenticate(f"Bearer {session.access_token}", session_checked=False)

    async def claims(self, session: Session) -> Claims:
        return await self.verifier.verify(session.access_token)


def a_name() -> str:
    return f"u{new_id()[-20:]}"


def sessions_of(engine: AsyncEngine, keys: SigningKeys, ended: EndedSessions, refresh: int) -> Sessions:
    return Sessions(
        engine,
        keys=keys,
        ended=ended,
        issuer="roomcast",
        audience="roomcast",
        access_seconds=900,
        refresh_seconds=refresh,
    )


async def kept_here() -> bool:
    return True


@pytest.fixture(scope="module")
async def office(
    database: Database, redis_server: RedisServer, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Office]:
    keys = SigningKeys.at(None, tmp_path_factory.mktemp("data"))
    verifier = Verifier(keys, issuer="roomcast", audience="roomcast")
    async with Redis.from_url(redis_server.url) as redis, Passwords() as passwords:
        ended = EndedSessions(redis)
        sessions = sessions_of(database.engine, keys, ended, refresh=3600)
        accounts = Accounts(
            database.engine,
            sessions=sessions,
            passwords=passwords,
            limits=Limits.of(on=True),
            kept_here=kept_here,
        )
        foreign_users = ForeignUsers(database.engine)
        authenticator = BearerAuthenticator(database.engine, verifier=verifier, foreign_users=foreign_users)
        yield Office(database, keys, sessions, accounts, authenticator, verifier, passwords, ended)


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


async def test_refreshing_goes_on_with_the_session(office: Office) -> None:
    """New tokens, the same `sid`."""
    first = await office.registered()
    second = await office.accounts.refresh(first.refresh_token)
    third = await office.accounts.refresh(second.refresh_token)
    assert len({one.refresh_token for one in (first, second, third)}) == 3
    assert len({(await office.claims(one)).session_id for one in (first, second, third)}) == 1
    assert third.user == first.user
    await office.caller(first)


async def test_a_spent_refresh_token_ends_the_session(office: Office) -> None:
    """Everything of the session is refused from then on, and everybody is told once."""
    first = await office.registered()
    second = await office.accounts.refresh(first.refresh_token)
    for _ in range(2):
        with pytest.raises(TokenReused):
            await office.accounts.refresh(first.refresh_token)
    with pytest.raises(TokenInvalid):
        await office.accounts.refresh(second.refresh_token)
    for session in (first, second):
        with pytest.raises(TokenInvalid):
            await office.caller(session)
    claims = await office.claims(first)
    (event,) = await office.database.events(claims.session_id)
    assert (event["type"], event["everywhere"]) == ("session.ended", True)
    assert claims.session_id in event["body"]
    assert (await office.ended.load())[claims.session_id] >= claims.expires_at


async def test_of_two_refreshes_at_once_one_wins(office: Office) -> None:
    """The other is reuse; so the session ends."""
    for _ in range(5):
        session = await office.registered()
        got = await asyncio.gather(
            *(office.accounts.refresh(session.refresh_token) for _ in range(4)), return_exceptions=True
        )
        assert sum(isinstance(one, Session) for one in got) == 1
        assert sum(isinstance(one, TokenReused) for one in got) == 3
        assert len(await office.database.events((await office.claims(session)).session_id)) == 1


async def test_other_refresh_tokens_are_refused(office: Office) -> None:
    """Unknown ones as invalid, old ones as expired."""
    with pytest.raises(TokenInvalid):
        await office.accounts.refresh("never heard of")
    brief = sessions_of(office.database.engine, office.keys, office.ended, refresh=0)
    session = await office.registered()
    async with office.database.engine.begin() as connection:
        old = await brief.open(connection, session.user)
    with pytest.raises(TokenExpired):
        await office.accounts.refresh(old.refresh_token)


async def test_logging_out_ends_the_session_at_once(office: Office) -> None:
    """Its tokens are refused everywhere; the user's other sessions go on."""
    session = await office.registered()
    other = await office.accounts.login(session.user.username, PASSWORD, address="192.0.2.1")
    caller = await office.caller(session)
    await office.sessions.end(caller)
    await office.sessions.end(caller)
    with pytest.raises(TokenInvalid):
        await office.caller(session)
    with pytest.raises(TokenInvalid):
        await office.accounts.refresh(session.refresh_token)
    assert len(await office.database.events(caller.session_id)) == 1
    assert (await office.ended.load())[caller.session_id] >= caller.expires_at
    assert (await office.caller(other)).user_id == session.user.id


async def test_an_endpoint_may_look_for_ended_sessions_itself(office: Office) -> None:
    """Then the door does not."""
    session = await office.registered()
    await office.sessions.end(await office.caller(session))
    caller = await office.authenticator.authenticate(f"Bearer {session.access_token}", session_checked=True)
    assert caller.user_id == session.user.id


async def test_logging_out_needs_no_redis(office: Office, redis_server: RedisServer) -> None:
    """Noting it for gateways that start later is best effort; the event is what counts."""
    async with Redis(host="127.0.0.1", port=1) as nowhere:
        sessions = sessions_of(office.database.engine, office.keys, EndedSessions(nowhere), refresh=60)
        session = await office.registered()
        await sessions.end(await office.caller(session))
    with pytest.raises(TokenInvalid):
        await office.caller(session)


@pytest.mark.parametrize("header", [None, "", "Bearer", "Bearer ", "Basic YTpi", "Token x"])
async def test_no_token_is_missing(office: Office, header: str | None) -> None:
    """The rest of the header changes nothing."""
    with pytest.raises(TokenMissing):
        await office.authenticator.authenticate(header, session_checked=False)


async def test_the_scheme_is_not_case_sensitive(office: Office) -> None:
    """RFC 9110."""
    session = await office.registered()
    for scheme in ("bearer", "BEARER"):
        await office.authenticator.authenticate(f"{scheme} {session.access_token}", session_checked=False)
    with pytest.raises(TokenInvalid):
        await office.authenticator.authenticate("Bearer rubbish", session_checked=False)


async def test_an_expired_token_says_so(office: Office) -> None:
    """So that the client refreshes."""
    claims = jwt.decode((await office.registered()).access_token, options={"verify_signature": False})
    old = office.keys.sign({**claims, "exp": int(time.time()) - 1})
    with pytest.raises(TokenExpired):
        await office.authenticator.authenticate(f"Bearer {old}", session_checked=False)


async def test_users_are_found_by_their_exact_name(office: Office) -> None:
    """One or none; no wildcard."""
    user = (await office.registered()).user
    assert await office.accounts.named(user.username.upper()) == [user]
    for name in (user.username[:-1], user.username[:-1] + "_", "%", "ü", ""):
        assert await office.accounts.named(name) == []
    with pytest.raises(NotFound):
        await office.accounts.user("nobody")


async def test_no_accounts_where_another_issuer_keeps_them(office: Office) -> None:
    """403 that says who does."""

    async def kept_elsewhere() -> bool:
        return False

    accounts = Accounts(
        office.database.engine,
        sessions=office.sessions,
        passwords=office.passwords,
        limits=Limits.of(on=False),
        kept_here=kept_elsewhere,
    )
    for asked in (
        accounts.register(a_name(), PASSWORD, "", address="::1"),
        accounts.login("ada", PASSWORD, address="192.0.2.1"),
        accounts.refresh("x"),
    ):
        with pytest.raises(Forbidden) as refused:
            await asked
        assert "issuer" in refused.value.detail


def stranger(**changes: str) -> Claims:
    """Makes the claims of another issuer's token."""
    user_id = f"auth0|{new_id()}"
    base = Claims(user_id, "Zoë", "foreign", 0, int(time.time()) + 60, "", "kid")
    return replace(base, **changes)  # type: ignore[arg-type] # text fields only


async def test_a_stranger_gets_a_row_on_first_sight(office: Office) -> None:
    """Once, however many calls come at once and to however many processes."""
    claims = stranger(username=a_name().upper())
    processes = [ForeignUsers(office.database.engine) for _ in range(4)]
    await asyncio.gather(*(each.ensure(claims) for each in processes for _ in range(3)))
    user = await office.accounts.user(claims.user_id)
    assert (user.username, user.display_name) == (str(claims.username).lower(), "Zoë")
    with pytest.raises(BadCredentials):
        await office.accounts.login(user.username, PASSWORD, address="192.0.2.1")


async def test_a_stranger_gets_another_username_when_it_is_taken(office: Office) -> None:
    """A name that is taken, or does not fit, is replaced; nobody's account is taken over."""
    taken = (await office.registered()).user
    first, second = stranger(username=taken.username), stranger(username="not a username!")
    nameless = stranger()
    foreign_users = ForeignUsers(office.database.engine)
    names = {taken.username}
    for claims in (first, second, nameless):
        await foreign_users.ensure(claims)
        username = (await office.accounts.user(claims.user_id)).username
        assert 3 <= len(username) <= 32
        names.add(username)
    assert len(names) == 4
    assert await office.accounts.named(taken.username) == [taken]


async def test_a_stranger_s_session_can_be_ended(office: Office) -> None:
    """It has no row until then."""
    session_id = new_id()
    claims = {
        "iss": "roomcast",
        "aud": "roomcast",
        "sub": f"auth0|{session_id}",
        "sid": session_id,
        "exp": int(time.time()) + 4000,
    }
    bearer = f"Bearer {office.keys.sign(claims)}"
    caller = await office.authenticator.authenticate(bearer, session_checked=False)
    await office.sessions.end(caller)
    with pytest.raises(TokenInvalid):
        await office.authenticator.authenticate(bearer, session_checked=False)
    assert (await office.ended.load())[session_id] == claims["exp"]
    assert len(await office.database.events(session_id)) == 1


async def test_ended_sessions_are_forgotten_in_time(redis_server: RedisServer, tmp_path: Path) -> None:
    """Those whose tokens have all expired no longer matter."""
    async with Redis.from_url(redis_server.url) as redis:
        ended = EndedSessions(redis)
        now = int(time.time())
        old, new = new_id(), new_id()
        await ended.add(old, now - 5)
        await ended.add(new, now + 60)
        await ended.add(new, now + 30)
        found = await ended.load()
        assert old not in found
        assert found[new] == now + 60
        assert await redis.zscore("roomcast:sessions:ended", old) is None
