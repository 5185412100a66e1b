"""Users whose accounts another issuer keeps: each gets a row when a token of theirs is first seen."""

import hashlib
import secrets
from collections import OrderedDict
from collections.abc import Iterator
from typing import Final

import structlog
from sqlalchemy import select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncEngine

from chat_api.accounts.usernames import LONGEST, canonical_username
from chat_api.database.tables import users
from shared.auth.tokens import Claims
from shared.ids import now

_REMEMBERED: Final = 50_000

log = structlog.get_logger()


class ForeignUsers:
    """Makes sure that every caller has a user row; remembers, per process, who has one."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine
        self._known: OrderedDict[str, None] = OrderedDict()

    async def ensure(self, claims: Claims) -> None:
        """Makes the caller's row if there is none, named as the token prefers if that fits and is free."""
        if claims.user_id not in self._known:
            await self._ensure(claims)
            self._known[claims.user_id] = None
            if len(self._known) > _REMEMBERED:
                self._known.popitem(last=False)

    async def _ensure(self, claims: Claims) -> None:
        is_there = select(users.c.id).where(users.c.id == claims.user_id)
        for username in _usernames(claims):
            async with self._engine.begin() as connection:
                if (await connection.execute(is_there)).first() is not None:
                    return
                made = insert(users).values(
                    id=claims.user_id, username=username, display_name=claims.name, created_at=now()
                )
                await connection.execute(made.on_conflict_do_nothing())
                if (await connection.execute(is_there)).first() is not None:
                    log.info("user.first_seen", user_id=claims.user_id)
                    return


def _usernames(claims: Claims) -> Iterator[str]:
    """Yields names to try; nobody can take the last one on purpose."""
    digest = hashlib.sha256(claims.user_id.encode()).hexdigest()
    preferred = canonical_username(claims.username or "")
    if preferred is not None:
        yield preferred
        yield f"{preferred[: LONGEST - 9]}-{digest[:8]}"
    yield f"user-{digest[:16]}"
    yield f"user-{secrets.token_hex(8)}"
