"""Verifies tokens whose key may be too new to be known.

Whoever makes up key ids has the JWK set fetched for them, and it may not be fetched again for ten seconds. A
good token that names a new key just then waits for the next fetch, instead of being refused. So that this
holds nothing for those who make up ids, an address that has shown one is not waited with for a while, and few
wait at once: no longer than anybody may take for a handshake without saying a word.
"""

from typing import Final

from shared.auth.jwks import JwksKeys
from shared.auth.tokens import Claims, UnknownKeyError, Verifier
from shared.http.proxies import rate_limit_key
from shared.http.rate_limit import RateLimit
from ws_gateway.limits import ConcurrencyLimit

MISS_SECONDS: Final = 60
"""For how long no token of an address is waited with once one of its keys did not appear."""
_WAITING_AT_ONCE: Final = 1000
_WAITING_PER_ADDRESS: Final = 100


class PatientVerifier:
    """A verifier that waits up to `seconds` for a key that is too new to be known."""

    def __init__(self, verifier: Verifier, keys: JwksKeys, *, seconds: float) -> None:
        self._verifier = verifier
        self._keys = keys
        self._seconds = seconds
        self._key_misses = RateLimit(rate=1 / MISS_SECONDS, burst=1)
        self._waiting = ConcurrencyLimit(_WAITING_AT_ONCE)
        self._waiting_per_client = ConcurrencyLimit(_WAITING_PER_ADDRESS)

    async def verify(self, token: str, address: str) -> Claims:
        """Returns what a token says, shown by a client at `address`.

        Raises:
            TokenRefusedError: it is not one to trust.
            KeysUnavailableError: it names a key that cannot be looked up now.
        """
        try:
            return await self._verifier.verify(token)
        except UnknownKeyError as unknown:
            client = rate_limit_key(address)
            if not await self._key_appears(unknown.key_id, client):
                self._key_misses.take(client)
                raise
        return await self._verifier.verify(token)

    async def _key_appears(self, kid: str, client: str) -> bool:
        if self._key_misses.wait(client) or not self._waiting.acquire(""):
            return False
        try:
            if not self._waiting_per_client.acquire(client):
                return False
            try:
                return await self._keys.appears(kid, within=self._seconds)
            finally:
                self._waiting_per_client.release(client)
        finally:
            self._waiting.release("")
