"""Sessions: refreshed, ended and looked at, on a real PostgreSQL and a real Redis."""

import asyncio
import time
from pathlib import Path

import jwt
import pytest
from integration.accounts.office import PASSWORD, Office, sessions_of
from redis.asyncio import Redis
from support.servers import RedisServer

from chat_api.accounts.sessions import Session
from chat_api.http.problems import (
    TokenExpired,
    TokenInvalid,
    TokenMissing,
    TokenReused,
)
from shared.ids import new_id
from shared.store.ended_sessions import EndedSessions


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
