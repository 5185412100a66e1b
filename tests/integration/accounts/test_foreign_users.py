"""Users of another issuer, who get a row on first sight."""

import asyncio
import time
from dataclasses import replace

import pytest
from integration.accounts.office import PASSWORD, Office, a_name

from chat_api.accounts.accounts import Accounts
from chat_api.accounts.foreign_users import ForeignUsers
from chat_api.http.problems import (
    BadCredentials,
    Forbidden,
    TokenInvalid,
)
from chat_api.http.rate_limits import Limits
from shared.auth.tokens import Claims
from shared.ids import new_id


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
