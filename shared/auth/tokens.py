"""Verification of access tokens: JWTs signed with EdDSA (Ed25519), by public keys alone.

The signer is the API, or another issuer whose JWK set (RFC 7517) is configured.
"""

import hashlib
import time
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final, Literal

import jwt
import orjson
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from shared.auth.jwks import KeySource

ALGORITHM: Final = "EdDSA"
MAX_TOKEN_LENGTH: Final = 8192
"""A longer token is refused before anything is decoded."""
MAX_CLAIM_LENGTH: Final = 255
MAX_NAME_LENGTH: Final = 80
CLOCK_SKEW_SECONDS: Final = 30
"""How far ahead an issuer's clock may be: `iat` and `nbf` up to here in the future are taken."""
_YEAR_10000: Final = 253_402_300_800

TokenCode = Literal["token_missing", "token_invalid", "token_expired"]


class TokenRefusedError(Exception):
    """The token is not one to trust; `code` is what the caller is told, `reason` is for the log."""

    def __init__(self, code: TokenCode, reason: str = "") -> None:
        super().__init__(f"{code}: {reason}" if reason else code)
        self.code: TokenCode = code
        self.reason = reason


class UnknownKeyError(TokenRefusedError):
    """It names a key that is not known: a made-up one, or one that is too new."""

    def __init__(self, key_id: str) -> None:
        super().__init__("token_invalid", "signed with an unknown key")
        self.key_id = key_id


@dataclass(frozen=True, slots=True)
class Claims:
    """The claims of a verified token.

    Attributes:
        user_id: `sub`, 1..255 characters.
        name: `name` (else `preferred_username`, else `sub`), cut at 80 characters.
        session_id: `sid`, or what stands for it where an issuer has no sessions: `jti`, else a digest of
            the token.
        issued_at, expires_at: Unix seconds; `issued_at` is 0 where the issuer does not say.
        token_id: `jti`, or "".
        key_id: the header's `kid`.
        username: `preferred_username`, or None.
    """

    user_id: str
    name: str
    session_id: str
    issued_at: int
    expires_at: int
    token_id: str
    key_id: str
    username: str | None = None


class Verifier:
    """Verifies tokens; remembers those it has verified until they expire, the last `remembered` used.

    A remembered token is refused as soon as its key is no longer in the set.
    """

    def __init__(
        self,
        keys: KeySource,
        *,
        issuer: str,
        audience: str,
        clock: Callable[[], float] = time.time,
        remembered: int = 10_000,
    ) -> None:
        self._keys = keys
        self._issuer = issuer
        self._audience = audience
        self._clock = clock
        self._remembered = remembered
        self._verified: OrderedDict[str, tuple[Claims, Ed25519PublicKey]] = OrderedDict()

    async def verify(self, token: str) -> Claims:
        """Returns the claims of `token`, if its signature, issuer, audience and times are right.

        Raises:
            TokenRefusedError: it is missing, invalid or (all else being right) expired; an `UnknownKeyError`
                where it may be good once the key is known.
            KeysUnavailableError: it names a key that cannot be looked up now.
        """
        if not token:
            raise TokenRefusedError("token_missing")
        if (known := self._verified.get(token)) is not None and await self._still_good(*known):
            self._verified.move_to_end(token)
            return known[0]
        self._verified.pop(token, None)
        claims, key = await self._decode(token)
        self._verified[token] = (claims, key)
        if len(self._verified) > self._remembered:
            self._verified.popitem(last=False)
        return claims

    async def _still_good(self, claims: Claims, key: Ed25519PublicKey) -> bool:
        return claims.expires_at > self._clock() and await self._keys.key(claims.key_id) is key

    async def _decode(self, token: str) -> tuple[Claims, Ed25519PublicKey]:
        if len(token) > MAX_TOKEN_LENGTH or not token.isascii():
            raise TokenRefusedError("token_invalid", "too long or not ASCII")
        kid = _key_id(token)
        key = await self._keys.key(kid)
        if key is None:
            raise UnknownKeyError(kid)
        try:
            payload = orjson.loads(_payload_of(token, key))
        except InvalidSignature:
            raise TokenRefusedError("token_invalid", "the signature is wrong") from None
        except ValueError as error:
            raise TokenRefusedError("token_invalid", str(error)) from None
        if not isinstance(payload, dict):
            raise TokenRefusedError("token_invalid", "the claims are not an object")
        self._check(payload)
        fallback = hashlib.sha256(token.encode()).hexdigest()
        claims = _claims(payload, kid, fallback)
        if claims.expires_at <= self._clock():
            raise TokenRefusedError("token_expired")
        return claims, key

    def _check(self, payload: Mapping[str, Any]) -> None:
        if payload.get("iss") != self._issuer:
            raise TokenRefusedError("token_invalid", "another issuer")
        audience = payload.get("aud")
        if audience != self._audience and not (isinstance(audience, list) and self._audience in audience):
            raise TokenRefusedError("token_invalid", "for another audience")
        latest = self._clock() + CLOCK_SKEW_SECONDS
        for claim in ("iat", "nbf"):
            if claim in payload and _seconds(payload, claim) > latest:
                raise TokenRefusedError("token_invalid", f"not valid yet ({claim})")


def _key_id(token: str) -> str:
    try:
        return _key_id_in(token.partition(".")[0])
    except (jwt.PyJWTError, ValueError, TypeError) as error:
        raise TokenRefusedError("token_invalid", str(error)) from None


@lru_cache(maxsize=64)
def _key_id_in(header_segment: str) -> str:
    """Returns the `kid` in a token's header, which is the same for all tokens of one key."""
    header = jwt.get_unverified_header(f"{header_segment}..")
    if header.get("alg") != ALGORITHM:
        raise TokenRefusedError("token_invalid", "another algorithm")
    if header.get("b64", True) is not True:
        raise TokenRefusedError("token_invalid", "a payload that is not in the token")
    kid = header.get("kid")
    if not isinstance(kid, str) or not 0 < len(kid) <= MAX_CLAIM_LENGTH:
        raise TokenRefusedError("token_invalid", "no key id")
    return kid


def _payload_of(token: str, key: Ed25519PublicKey) -> bytes:
    """Returns the payload of a token (RFC 7515, compact form) with a checked header, if it is signed right.

    Raises:
        InvalidSignature: it is not.
        ValueError: there are not three segments of base64url.
    """
    signed, _, signature = token.rpartition(".")
    _, dot, payload = signed.partition(".")
    if not dot:
        raise ValueError("not enough segments")
    key.verify(_bytes_of(signature), signed.encode())
    return _bytes_of(payload)


def _bytes_of(segment: str) -> bytes:
    """Decodes a segment of base64url; only one text stands for the same bytes."""
    text = segment.rstrip("=").encode()
    found = urlsafe_b64decode(text + b"=" * (-len(text) % 4))
    if urlsafe_b64encode(found).rstrip(b"=") != text:
        raise ValueError("not base64url")
    return found


def _claims(payload: Mapping[str, Any], kid: str, fallback_session: str) -> Claims:
    if "exp" not in payload or "sub" not in payload:
        raise TokenRefusedError("token_invalid", "exp or sub is missing")
    user_id = _text(payload, "sub")
    token_id = _text(payload, "jti") if "jti" in payload else ""
    username = _text(payload, "preferred_username") if payload.get("preferred_username") else None
    name = _text(payload, "name", longest=None) if payload.get("name") else username or user_id
    return Claims(
        user_id=user_id,
        name=name[:MAX_NAME_LENGTH],
        session_id=_text(payload, "sid") if "sid" in payload else token_id or fallback_session,
        issued_at=_seconds(payload, "iat") if "iat" in payload else 0,
        expires_at=_seconds(payload, "exp"),
        token_id=token_id,
        key_id=kid,
        username=username,
    )


def _text(payload: Mapping[str, Any], claim: str, longest: int | None = MAX_CLAIM_LENGTH) -> str:
    value = payload[claim]
    if not isinstance(value, str) or not value or "\0" in value or (longest and len(value) > longest):
        raise TokenRefusedError("token_invalid", f"{claim} does not fit")
    return value


def _seconds(payload: Mapping[str, Any], claim: str) -> int:
    """Returns a NumericDate (RFC 7519), which may have a fraction, in whole seconds."""
    value = payload[claim]
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < _YEAR_10000:
        raise TokenRefusedError("token_invalid", f"{claim} is not a time")
    return int(value)
