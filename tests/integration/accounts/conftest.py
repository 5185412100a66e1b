"""Accounts kept here."""

from collections.abc import AsyncIterator

import pytest
from integration.accounts.office import Office, kept_here, sessions_of
from redis.asyncio import Redis
from support.database import Database
from support.servers import RedisServer

from chat_api.accounts.accounts import Accounts
from chat_api.accounts.authentication import BearerAuthenticator
from chat_api.accounts.foreign_users import ForeignUsers
from chat_api.accounts.passwords import Passwords
from chat_api.accounts.signing_keys import SigningKeys
from chat_api.http.rate_limits import Limits
from shared.auth.tokens import Verifier
from shared.store.ended_sessions import EndedSessions


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
