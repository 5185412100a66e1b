"""Accounts that this API keeps: registering, logging in, finding users."""

from collections.abc import Awaitable, Callable

from sqlalchemy import select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncEngine

from chat_api.accounts.passwords import Passwords
from chat_api.accounts.sessions import Session, Sessions, User, user_of
from chat_api.accounts.usernames import canonical_username
from chat_api.database.tables import users
from chat_api.http.problems import BadCredentials, Forbidden, NotFound, UsernameTaken
from chat_api.http.rate_limits import FailedLogins, Limits, enforce
from shared.ids import new_id, now


class Accounts:
    """Users and their passwords.

    Args:
        kept_here: tells whether accounts are kept by this API, and not by another issuer.
    """

    def __init__(
        self,
        engine: AsyncEngine,
        *,
        sessions: Sessions,
        passwords: Passwords,
        limits: Limits,
        kept_here: Callable[[], Awaitable[bool]],
    ) -> None:
        self._engine = engine
        self._sessions = sessions
        self._passwords = passwords
        self._limits = limits
        self._kept_here = kept_here

    async def register(self, username: str, password: str, display_name: str, *, address: str) -> Session:
        """Registers a user and logs it in; `address` is where the call comes from.

        Raises:
            UsernameTaken, RateLimited, Forbidden: another user has it; too many from there; kept elsewhere.
        """
        await self._require_own_accounts()
        enforce(self._limits.registrations, address)
        user = User(id=new_id(), username=username.lower(), display_name=display_name or username)
        hashed = await self._passwords.hash(password)
        made = insert(users).values(
            id=user.id,
            username=user.username,
            display_name=user.display_name,
            password_hash=hashed,
            created_at=now(),
        )
        async with self._engine.begin() as connection:
            free = made.on_conflict_do_nothing(index_elements=[users.c.username]).returning(users.c.id)
            if (await connection.execute(free)).first() is None:
                raise UsernameTaken
            return await self._sessions.open(connection, user)

    async def login(self, username: str, password: str, *, address: str) -> Session:
        """Opens a session of a user; a failure takes as long and says the same, whatever was wrong.

        Failures count by name and `address`, where the call comes from: a guesser locks nobody else out.

        Raises:
            BadCredentials, RateLimited, Forbidden: wrong; too often wrong; kept elsewhere.
        """
        await self._require_own_accounts()
        name = username.lower()
        failures = FailedLogins(self._limits, name, address)
        failures.check()
        async with self._engine.connect() as connection:
            row = (await connection.execute(select(users).where(users.c.username == name))).first()
        matches = await self._passwords.verify(
            password,
            None if row is None else row.password_hash,
            first=failures.check,  # many may have been waiting for their turn
        )
        if row is None or not matches:
            failures.count()
            raise BadCredentials
        async with self._engine.begin() as connection:
            return await self._sessions.open(connection, user_of(row))

    async def refresh(self, refresh_token: str) -> Session:
        """Returns the session's next tokens; see `Sessions.refresh`.

        Raises:
            TokenReused, TokenInvalid, TokenExpired, Forbidden: it is not good; kept elsewhere.
        """
        await self._require_own_accounts()
        return await self._sessions.refresh(refresh_token)

    async def user(self, user_id: str) -> User:
        """Returns the user with this id.

        Raises:
            NotFound: there is none.
        """
        async with self._engine.connect() as connection:
            row = (await connection.execute(select(users).where(users.c.id == user_id))).first()
        if row is None:
            raise NotFound
        return user_of(row)

    async def named(self, username: str) -> list[User]:
        """Returns the user with this username, or none."""
        name = canonical_username(username)
        if name is None:
            return []
        async with self._engine.connect() as connection:
            found = await connection.execute(select(users).where(users.c.username == name))
            return [user_of(row) for row in found]

    async def _require_own_accounts(self) -> None:
        if not await self._kept_here():
            raise Forbidden("Accounts are kept by the configured issuer: register and log in there.")
