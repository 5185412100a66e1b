"""Sessions: opened by a login, continued by refresh tokens, ended by a logout or a stolen refresh token."""

import asyncio
import hashlib
import secrets
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any, Final

import structlog
from redis.exceptions import RedisError
from sqlalchemy import Row, insert, select, update
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from chat_api.accounts.signing_keys import SigningKeys
from chat_api.database.tables import refresh_tokens, sessions, users
from chat_api.http.endpoints import Caller
from chat_api.http.fields import ApiModel
from chat_api.http.problems import TokenExpired, TokenInvalid, TokenReused
from chat_api.outbox.record import record
from shared.events import SESSION_ENDED, Event, SessionEnded
from shared.ids import new_id, now
from shared.store.ended_sessions import EndedSessions
from shared.telemetry.correlation import current_request_id, current_traceparent

_TOKEN_BYTES: Final = 32
_REDIS_SECONDS: Final = 1.0

log = structlog.get_logger()


class User(ApiModel):
    """A user as everybody sees it."""

    id: str
    username: str
    display_name: str


class Session(ApiModel):
    """The tokens to act for a user with; `expiresIn` is the access token's life in seconds."""

    user: User
    access_token: str
    refresh_token: str
    expires_in: int


class Sessions:
    """Opens, continues and ends sessions. Of refresh tokens only hashes are stored."""

    def __init__(
        self,
        engine: AsyncEngine,
        *,
        keys: SigningKeys,
        ended: EndedSessions,
        issuer: str,
        audience: str,
        access_seconds: int,
        refresh_seconds: int,
        on_end_not_noted: Callable[[], None] = lambda: None,
    ) -> None:
        self._engine = engine
        self._keys = keys
        self._ended = ended
        self._issuer = issuer
        self._audience = audience
        self._access_seconds = access_seconds
        self._on_end_not_noted = on_end_not_noted
        self._refresh_life = timedelta(seconds=refresh_seconds)

    async def open(self, connection: AsyncConnection, user: User) -> Session:
        """Opens a session, in the caller's transaction."""
        session_id, time = new_id(), now()
        await connection.execute(
            insert(sessions).values(
                id=session_id, user_id=user.id, created_at=time, expires_at=time + self._refresh_life
            )
        )
        return await self._continue(connection, session_id, user, time)

    async def refresh(self, refresh_token: str) -> Session:
        """Spends a refresh token for the session's next tokens.

        Of two concurrent uses one wins, and the other counts as reuse: somebody holds a copy, so the whole
        session ends.

        Raises:
            TokenReused, TokenInvalid, TokenExpired: it was spent before, is none of ours or its session has
                ended, or is too old.
        """
        async with self._engine.begin() as connection:
            found = await self._locked(connection, refresh_token)
            if found is None:
                raise TokenInvalid("The refresh token is not one of ours.")
            if found.spent_at is None:
                return await self._next(connection, found)
            expires_at = await self._end(connection, found.session_id, found.user_id)
        await self._note_end(found.session_id, expires_at)
        log.warning("session.token_reused", session_id=found.session_id, user_id=found.user_id)
        raise TokenReused

    async def end(self, caller: Caller) -> None:
        """Ends the caller's session: its tokens are refused from now on, its sockets are dropped."""
        async with self._engine.begin() as connection:
            expires_at = await self._end(connection, caller.session_id, caller.user_id, caller.expires_at)
        await self._note_end(caller.session_id, expires_at)

    async def _locked(self, connection: AsyncConnection, refresh_token: str) -> Row[*tuple[Any, ...]] | None:
        """Returns the token's row with its session and user; both locked, so that uses come one by one."""
        digest = _digest(refresh_token)
        query = (
            select(
                refresh_tokens.c.hash,
                refresh_tokens.c.session_id,
                refresh_tokens.c.expires_at,
                refresh_tokens.c.spent_at,
                sessions.c.user_id,
                sessions.c.ended_at,
            )
            .join(sessions, sessions.c.id == refresh_tokens.c.session_id)
            .where(refresh_tokens.c.hash == digest)
            .with_for_update()
        )
        return (await connection.execute(query)).first()

    async def _next(self, connection: AsyncConnection, found: Row[*tuple[Any, ...]]) -> Session:
        time = now()
        if found.ended_at is not None:
            raise TokenInvalid("The session has ended.")
        if found.expires_at <= time:
            raise TokenExpired("The refresh token has expired.")
        user = (await connection.execute(select(users).where(users.c.id == found.user_id))).one()
        spent = update(refresh_tokens).where(refresh_tokens.c.hash == found.hash).values(spent_at=time)
        await connection.execute(spent)
        prolonged = update(sessions).where(sessions.c.id == found.session_id)
        await connection.execute(prolonged.values(expires_at=time + self._refresh_life))
        return await self._continue(connection, found.session_id, user_of(user), time)

    async def _continue(
        self, connection: AsyncConnection, session_id: str, user: User, time: datetime
    ) -> Session:
        refresh_token = secrets.token_urlsafe(_TOKEN_BYTES)
        await connection.execute(
            insert(refresh_tokens).values(
                hash=_digest(refresh_token),
                session_id=session_id,
                created_at=time,
                expires_at=time + self._refresh_life,
            )
        )
        return Session(
            user=user,
            access_token=self._access_token(session_id, user, int(time.timestamp())),
            refresh_token=refresh_token,
            expires_in=self._access_seconds,
        )

    def _access_token(self, session_id: str, user: User, issued_at: int) -> str:
        return self._keys.sign(
            {
                "iss": self._issuer,
                "aud": self._audience,
                "sub": user.id,
                "name": user.display_name,
                "sid": session_id,
                "iat": issued_at,
                "exp": issued_at + self._access_seconds,
                "jti": new_id(),
            }
        )

    async def _end(
        self, connection: AsyncConnection, session_id: str, user_id: str, token_expires_at: int = 0
    ) -> int:
        """Ends a session and records it, once; a session of another issuer gets its row here.

        Returns:
            The Unix second after which none of its access tokens is good.
        """
        time = now()
        expires_at = max(int(time.timestamp()) + self._access_seconds, token_expires_at)
        statement = upsert(sessions).values(
            id=session_id,
            user_id=user_id,
            created_at=time,
            expires_at=datetime.fromtimestamp(expires_at, tz=time.tzinfo),
            ended_at=time,
        )
        ended = statement.on_conflict_do_update(
            index_elements=[sessions.c.id], set_={"ended_at": time}, where=sessions.c.ended_at.is_(None)
        ).returning(sessions.c.id)
        if (await connection.execute(ended)).first() is not None:
            await record(connection, _session_ended(session_id, user_id))
        return expires_at

    async def _note_end(self, session_id: str, expires_at: int) -> None:
        """Notes an end for gateways that start later; those that run hear of it by the event."""
        try:
            async with asyncio.timeout(_REDIS_SECONDS):
                await self._ended.add(session_id, expires_at)
        except (RedisError, OSError) as error:
            self._on_end_not_noted()
            log.warning("session.end_not_noted", session_id=session_id, error=repr(error))


def user_of(row: Row[*tuple[Any, ...]]) -> User:
    """Returns a row of `users` as everybody sees it."""
    return User(id=row.id, username=row.username or "", display_name=row.display_name)


def _session_ended(session_id: str, user_id: str) -> Event:
    return Event(
        type=SESSION_ENDED,
        body=SessionEnded(session_id=session_id, user_id=user_id).json_bytes(),
        source="/roomcast/api",
        subject=session_id,
        everywhere=True,
        request_id=current_request_id(),
        traceparent=current_traceparent(),
    )


def _digest(refresh_token: str) -> bytes:
    return hashlib.sha256(refresh_token.encode()).digest()
