"""An issuer's public keys: the Ed25519 keys of a JWK set (RFC 7517, RFC 8037), fetched and kept fresh."""

import asyncio
import time
from collections.abc import Callable, Mapping
from typing import Any, Final, Protocol

import aiohttp
import jwt
import orjson
import structlog
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from jwt.algorithms import OKPAlgorithm

from shared.concurrency.waiting import wait_for_event

REFRESH_SECONDS: Final = 300.0
REFETCH_SECONDS: Final = 10.0
"""Unknown key ids, which anybody can send, make for one fetch in this time at most."""
_RETRY_SECONDS: Final = 2.0
_FETCH_SECONDS: Final = 4.0
_MAX_SET_BYTES: Final = 256 * 1024

log = structlog.get_logger()


class KeysUnavailableError(Exception):
    """The issuer's keys cannot be fetched: it is not known now whether the token's key is a good one."""


class KeySource(Protocol):
    """A verifier's source of public keys."""

    async def key(self, kid: str) -> Ed25519PublicKey | None:
        """Returns the key with this id, the same object while it is the same key; None when there is none.

        Raises:
            KeysUnavailableError: not known now; the answer may be another one soon.
        """


class JwksKeys:
    """The keys of the set at `url`. Keeps what it has while the issuer does not answer.

    `run()` keeps them fresh; without it, they are fetched when a key id is unknown.
    """

    def __init__(
        self, url: str, http: aiohttp.ClientSession, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._url = url
        self._http = http
        self._clock = clock
        self._keys: dict[str, Ed25519PublicKey] = {}
        self._fetching = asyncio.Lock()
        self._asked_at = float("-inf")
        self._refused = asyncio.Event()
        """An id that may be a new key's was taken for unknown: the set was fetched too lately."""
        self._sought: set[str] = set()
        """Unknown ids that the next fetch is to show."""
        self._absent: frozenset[str] = frozenset()
        """Those that the last one has not shown."""
        self._fetched = asyncio.Event()
        """Set, and replaced, at the end of each fetch."""
        self._answered = False
        self.loaded = False

    async def run(self) -> None:
        """Fetches now and every five minutes, sooner again while the issuer does not answer; for ever.

        After an unknown id that came too soon to fetch for it, it does so as soon as it may.
        """
        while True:
            async with self._fetching:
                first = not self.loaded
                await self._fetch()
                if first:
                    self._asked_at = float("-inf")  # that was for no unknown id
            pause = REFRESH_SECONDS if self._answered else _RETRY_SECONDS
            if not await wait_for_event(self._refused, seconds=pause):
                continue
            self._refused.clear()
            await asyncio.sleep(max(0.0, self._asked_at + REFETCH_SECONDS - self._clock()))
            self._asked_at = self._clock()

    async def ping(self) -> None:
        """Returns when the set has been fetched at least once.

        Raises:
            KeysUnavailableError: it has not, and the issuer does not answer now.
        """
        if not self.loaded:
            await self._ask_unless(lambda: self.loaded)
            if self.loaded:
                self._asked_at = float("-inf")  # that was for no unknown id
        if not self.loaded:
            raise KeysUnavailableError(f"{self._url} does not answer with a JWK set")

    async def key(self, kid: str) -> Ed25519PublicKey | None:
        """Returns the key with this id; an unknown id fetches the set again, at most once in ten seconds.

        Raises:
            KeysUnavailableError: the id is unknown and the issuer did not answer when last asked.
        """
        if (key := self._keys.get(kid)) is not None:
            return key
        await self._ask_unless(lambda: kid in self._keys, seeking=kid)
        if (key := self._keys.get(kid)) is None and not self._answered:
            raise KeysUnavailableError(f"{self._url} does not answer with a JWK set")
        return key

    async def appears(self, kid: str, *, within: float) -> bool:
        """Returns whether a key with this id, unknown until now, is in the set when it is next fetched.

        At once False where the last fetch was made for this id too, or where the next may not be made
        `within` so many seconds. Needs `run()`.

        Raises:
            KeysUnavailableError: the issuer did not answer.
        """
        due = max(0.0, self._asked_at + REFETCH_SECONDS - self._clock())
        if kid in self._absent or due > within:
            return kid in self._keys
        self._sought.add(kid)
        self._refused.set()
        if not await wait_for_event(self._fetched, seconds=due + 2 * _FETCH_SECONDS):
            return False
        if not self._answered:
            raise KeysUnavailableError(f"{self._url} does not answer with a JWK set")
        return kid in self._keys

    async def _ask_unless(self, answered: Callable[[], bool], seeking: str | None = None) -> None:
        """Fetches the set, unless a fetch that was under way has `answered`, or the last one is recent."""
        async with self._fetching:
            patience = REFETCH_SECONDS if self.loaded else _RETRY_SECONDS
            if answered():
                return
            if self._clock() - self._asked_at < patience:
                self._refused.set()
            else:
                if seeking is not None:
                    self._sought.add(seeking)
                await self._fetch()
                # From its end on: those who waited for a slow answer do not ask once more each.
                self._asked_at = self._clock()

    async def _fetch(self) -> None:
        try:
            async with self._http.get(
                self._url, timeout=aiohttp.ClientTimeout(total=_FETCH_SECONDS)
            ) as response:
                response.raise_for_status()
                keys = public_keys(await _bounded(response))
        except (aiohttp.ClientError, OSError, TimeoutError, ValueError) as error:
            self._answered = False
            log.warning("jwks.unreachable", url=self._url, error=repr(error))
        else:
            # The same key stays the same object: who verified with it recognizes it.
            self._keys = {
                kid: old if (old := self._keys.get(kid)) is not None and old == key else key
                for kid, key in keys.items()
            }
            self._answered = self.loaded = True
            self._absent = frozenset(self._sought - self._keys.keys())
        finally:
            self._sought.clear()
            self._fetched.set()
            self._fetched = asyncio.Event()


def public_keys(document: bytes) -> dict[str, Ed25519PublicKey]:
    """Returns the Ed25519 signing keys of a JWK set by key id; other kinds of keys are passed over.

    Raises:
        ValueError: it is not a JWK set.
    """
    found = orjson.loads(document)
    if not isinstance(found, dict) or not isinstance(entries := found.get("keys"), list):
        raise ValueError("not a JWK set")  # noqa: TRY004 - one error for all that is not a set
    return {
        entry["kid"]: key
        for entry in entries
        if isinstance(entry, dict) and (key := _public_key(entry)) is not None
    }


def _public_key(entry: Mapping[str, Any]) -> Ed25519PublicKey | None:
    if (
        entry.get("kty") != "OKP"
        or entry.get("crv") != "Ed25519"
        or entry.get("use", "sig") != "sig"
        or entry.get("alg", "EdDSA") not in {"EdDSA", "Ed25519"}
        or not isinstance(kid := entry.get("kid"), str)
        or not kid
    ):
        return None
    try:
        key = OKPAlgorithm.from_jwk({"kty": "OKP", "crv": "Ed25519", "x": entry.get("x")})
    except (jwt.PyJWTError, ValueError, TypeError):
        log.warning("jwks.bad_key", kid=kid)
        return None
    return key if isinstance(key, Ed25519PublicKey) else None


async def _bounded(response: aiohttp.ClientResponse) -> bytes:
    document = await response.content.read(_MAX_SET_BYTES)
    while not response.content.at_eof() and len(document) < _MAX_SET_BYTES:
        document += await response.content.read(_MAX_SET_BYTES - len(document))
    if not response.content.at_eof():
        raise ValueError(f"the JWK set is larger than {_MAX_SET_BYTES} bytes")
    return document
