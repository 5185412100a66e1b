"""Calls the API as a logged-in user, with tokens that are kept fresh."""

import asyncio
from collections.abc import Callable
from time import monotonic
from typing import Any, Final, Self

from roomcast.chat.connection.rest import ChatError, RefusedError, Rest
from roomcast.chat.models import Session, User
from shared.concurrency.backoff import backoff

MARGIN: Final = 60.0
"""Seconds before its end at which a token is renewed; a fifth of its life when that is less."""


class LoggedOutError(ChatError):
    """You are logged out: this session has ended. Start `roomcast chat` again."""

    def __init__(self) -> None:
        super().__init__(self.__doc__)


class Account:
    """A logged-in user, who calls the API.

    Attributes:
        renewed: called with each new access token.
    """

    def __init__(self, rest: Rest, session: Session) -> None:
        self._rest = rest
        self._lock = asyncio.Lock()
        self._renew_now = asyncio.Event()
        self.renewed: Callable[[str], None] = lambda _: None
        self._keep(session)

    @classmethod
    async def log_in(cls, rest: Rest, username: str, password: str) -> Self:
        """Logs in; raises RefusedError with code `bad_credentials`, or another ChatError."""
        fields = {"username": username, "password": password}
        return cls(rest, Session.model_validate(await rest.call("POST", "/api/auth/login", fields)))

    @classmethod
    async def register(cls, rest: Rest, username: str, password: str) -> Self:
        """Registers; raises RefusedError (`username_taken`, `validation_failed`), or another ChatError."""
        fields = {"username": username, "password": password}
        return cls(rest, Session.model_validate(await rest.call("POST", "/api/auth/register", fields)))

    @property
    def user(self) -> User:
        """Returns the user."""
        return self._session.user

    async def call(self, method: str, path: str, body: object = None, **more: Any) -> Any:
        """Calls the API as `Rest.call` does, with a valid token.

        Raises:
            LoggedOutError: the session has ended.
            ChatError: as `Rest.call`.
        """
        token = await self.token()
        try:
            return await self._rest.call(method, path, body, token=token, **more)
        except RefusedError as error:
            if error.status != 401:
                raise
        await self._renew(token)
        return await self._rest.call(method, path, body, token=self._session.access_token, **more)

    async def token(self) -> str:
        """Returns an access token that is valid for a while.

        Raises:
            LoggedOutError: the session has ended.
            ChatError: the API does not answer.
        """
        if monotonic() >= self._renew_at:
            await self._renew(self._session.access_token)
        return self._session.access_token

    def renew_soon(self) -> None:
        """Makes `keep_fresh` renew the token at once, whatever its age."""
        self._renew_now.set()

    async def keep_fresh(self) -> None:
        """Renews the token before it expires, again and again, until cancelled.

        Raises:
            LoggedOutError: the session has ended.
        """
        delays = backoff()
        while True:
            self._renew_now.clear()
            try:
                async with asyncio.timeout(max(0.0, self._renew_at - monotonic())):
                    await self._renew_now.wait()
            except TimeoutError:
                pass
            try:
                await self._renew(self._session.access_token)
                delays = backoff()
            except LoggedOutError:
                raise
            except ChatError:
                await asyncio.sleep(next(delays))

    async def log_out(self) -> None:
        """Ends the session at the API."""
        await self.call("POST", "/api/auth/logout")

    async def _renew(self, stale: str) -> None:
        async with self._lock:
            if self._session.access_token != stale:
                return  # somebody else has renewed it meanwhile
            fields = {"refreshToken": self._session.refresh_token}
            try:
                answer = await self._rest.call("POST", "/api/auth/refresh", fields)
            except RefusedError as error:
                if error.status == 401:
                    raise LoggedOutError from error
                raise
            self._keep(Session.model_validate(answer))
        self.renewed(self._session.access_token)

    def _keep(self, session: Session) -> None:
        self._session = session
        life = session.expires_in
        self._renew_at = monotonic() + life - min(MARGIN, life / 5)
