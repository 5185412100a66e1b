"""Authentication: finds the caller that a token names, whose session has not ended."""

from typing import Final

import structlog
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncEngine

from chat_api.accounts.foreign_users import ForeignUsers
from chat_api.database.tables import sessions
from chat_api.http.endpoints import Caller
from chat_api.http.problems import Problem, TokenExpired, TokenInvalid, TokenMissing
from shared.auth.tokens import TokenCode, TokenRefusedError, Verifier

_PROBLEMS: Final[dict[TokenCode, type[Problem]]] = {
    "token_missing": TokenMissing,
    "token_invalid": TokenInvalid,
    "token_expired": TokenExpired,
}

log = structlog.get_logger()


class BearerAuthenticator:
    """Authenticates callers by their `Authorization: Bearer` header (RFC 6750)."""

    def __init__(self, engine: AsyncEngine, *, verifier: Verifier, foreign_users: ForeignUsers) -> None:
        # One statement needs no transaction around it.
        self._engine = engine.execution_options(isolation_level="AUTOCOMMIT")
        self._verifier = verifier
        self._foreign_users = foreign_users

    async def authenticate(self, authorization: str | None, *, session_checked: bool) -> Caller:
        """Returns the sender of this header; `session_checked`: the endpoint itself checks the session.

        Raises:
            TokenMissing, TokenInvalid, TokenExpired: nobody who may call.
            KeysUnavailableError: the other issuer's keys are not known now.
        """
        try:
            claims = await self._verifier.verify(_bearer(authorization))
        except TokenRefusedError as refusal:
            log.info("token.refused", code=refusal.code, reason=refusal.reason)
            raise _PROBLEMS[refusal.code] from None
        await self._foreign_users.ensure(claims)
        if not session_checked and await self._ended(claims.session_id):
            raise TokenInvalid("The session has ended.")
        return Caller(claims.user_id, claims.session_id, claims.name, claims.expires_at)

    async def _ended(self, session_id: str) -> bool:
        """Returns whether the session was ended here; one of another issuer has a row only then."""
        async with self._engine.connect() as connection:
            ended = select(sessions.c.ended_at).where(sessions.c.id == session_id)
            return (await connection.execute(ended)).scalar() is not None


def _bearer(authorization: str | None) -> str:
    scheme, _, token = (authorization or "").strip().partition(" ")
    return token.strip() if scheme.lower() == "bearer" else ""
