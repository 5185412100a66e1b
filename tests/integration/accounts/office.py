"""The parts of the API that keep accounts, put together for a test."""

from dataclasses import dataclass

from sqlalchemy.ext.asyncio import AsyncEngine
from support.database import Database

from chat_api.accounts.accounts import Accounts
from chat_api.accounts.authentication import BearerAuthenticator
from chat_api.accounts.passwords import Passwords
from chat_api.accounts.sessions import Session, Sessions
from chat_api.accounts.signing_keys import SigningKeys
from chat_api.http.endpoints import Caller
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
