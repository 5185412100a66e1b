"""Checks a client that opens a socket: its origin, whether the gateway drains, its token, its session."""

from collections.abc import Callable
from typing import Any, Final

import structlog

from shared.auth.jwks import KeysUnavailableError
from shared.auth.tokens import Claims, TokenRefusedError
from shared.http.cors import Origins
from ws_gateway.clients.key_wait import PatientVerifier
from ws_gateway.engine.application import Arrival, ArrivalPostponedError, ArrivalRefusedError
from ws_gateway.errors import TokenInvalidError, token_error

log = structlog.get_logger()

ORIGIN_FORBIDDEN: Final = "origin_forbidden"
DRAINING: Final = "draining"


class Handshake:
    """The checks of one gateway."""

    def __init__(
        self,
        *,
        origins: Origins,
        verifier: PatientVerifier,
        ended: Callable[[str], bool],
        draining: Callable[[], bool],
    ) -> None:
        self._origins = origins
        self._verifier = verifier
        self._ended = ended
        self._draining = draining

    async def check(self, arrival: Arrival) -> tuple[str, Claims]:
        """Returns the client's token, and what it says.

        Raises:
            ArrivalRefusedError: with the contract's code.
            ArrivalPostponedError: the keys to verify the token with cannot be had now.
        """
        if not self._origins.allows(arrival.origin):
            raise ArrivalRefusedError(ORIGIN_FORBIDDEN, "Pages of this origin may not connect.")
        if self._draining():
            raise ArrivalRefusedError(DRAINING, "This gateway is about to stop; connect again.")
        return await self._verified(arrival.auth, arrival.connection.address)

    def check_still(self, claims: Claims) -> None:
        """Refuses a client whose session has ended, or that came too late, since it was checked.

        Raises:
            ArrivalRefusedError: with the contract's code.
        """
        if self._draining():
            raise ArrivalRefusedError(DRAINING, "This gateway is about to stop; connect again.")
        if self._ended(claims.session_id):
            raise ArrivalRefusedError(TokenInvalidError.code, "The session has ended.")

    async def _verified(self, auth: object, address: str) -> tuple[str, Claims]:
        token = _token_in(auth)
        try:
            claims = await self._verifier.verify(token, address)
        except TokenRefusedError as error:
            refusal = token_error(error.code)
            raise ArrivalRefusedError(refusal.code, refusal.message) from error
        except KeysUnavailableError as error:
            log.warning("handshake.keys_unavailable")
            raise ArrivalPostponedError from error
        self.check_still(claims)
        return token, claims


def _token_in(auth: object) -> str:
    token: Any = auth.get("token") if isinstance(auth, dict) else None
    if token is None or token == "":
        raise ArrivalRefusedError("token_missing", "An access token is needed: auth.token.")
    if not isinstance(token, str):
        raise ArrivalRefusedError(TokenInvalidError.code, TokenInvalidError().message)
    return token
