"""Tokens whose key may be too new to be known.

Whoever makes up key ids has the JWK set fetched for them, and it may not be fetched again for ten seconds. A
good token that names a new key just then waits for the next fetch, instead of being refused. So that this
holds nothing for those who make up ids, an address that has shown one is not waited with for a while, and few
wait at once: no longer than anybody may take for a handshake without saying a word.
"""

from typing import Final

from shared.auth.tokens import Claims, JwksKeys, UnknownKeyError, Verifier
from shared.http.proxies import rate_limit_key
from shared.http.rate_limit import RateLimit
from ws_gateway.limits import ConcurrencyLimit

WARY_SECONDS: Final = 60
"""For how long nobody waits with an address whose key was in vain waited for."""
_AT_ONCE: Final = 1000
_OF_AN_ADDRESS: Final = 100


class PatientVerifier:
    """Verifies tokens; waits up to `seconds` for a key that is too new to be known."""

    def __init__(self, verifier: Verifier, keys: JwksKeys, *, seconds: float) -> None:
        self._verifier = verifier
        self._keys = keys
        self._seconds = seconds
        self._in_vain = RateLimit(rate=1 / WARY_SECONDS, burst=1)
        self._all = ConcurrencyLimit(_AT_ONCE)
        self._each = ConcurrencyLimit(_OF_AN_ADDRESS)

    async def verify(self, token: str, address: str) -> Claims:
        """What the token says that a client at `address` shows.

        Raises:
            TokenRefusedError: it is not one to trust.
            KeysUnavailableError: it names a key that cannot be looked up now.
        """
        try:
            return await self._verifier.verify(token)
        except UnknownKeyError as unknown:
            customer = rate_limit_key(address)
            if not await self._appears(unknown.key_id, customer):
                self._in_vain.take(customer)
                raise
        return await self._verifier.verify(token)

    async def _appears(self, kid: str, customer: str) -> bool:
        if self._in_vain.wait(customer) or not self._all.acquire(""):
            return False
        try:
            if not self._each.acquire(customer):
                return False
            try:
                return await self._keys.appears(kid, within=self._seconds)
            finally:
                self._each.release(customer)
        finally:
            self._all.release("")
