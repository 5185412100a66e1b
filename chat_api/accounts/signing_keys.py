"""The API's signing keys: Ed25519, in one PEM file, read again when it changes.

The first private key signs; every key of the file, private or public, is in the JWK set. To rotate: add the
new public key, wait until everybody has fetched the set, put the new private key first, and take the old one
out once its last token has expired.
"""

import hashlib
import os
import re
import secrets
import time
from base64 import urlsafe_b64encode
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import jwt
import orjson
import structlog
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from shared.auth.jwks import KeySource
from shared.auth.tokens import ALGORITHM
from shared.config.start_errors import SettingsError

GENERATED: Final = "jwt-private-key.pem"
_LOOK_SECONDS: Final = 1.0
_BLOCK: Final = re.compile(rb"-----BEGIN ([A-Z0-9 ]+)-----.+?-----END \1-----", re.DOTALL)

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class KeyRing:
    """The keys of one state of the file."""

    kid: str
    private: Ed25519PrivateKey
    public: Mapping[str, Ed25519PublicKey]
    jwks: bytes


class SigningKeys:
    """The keys of the file at `path`. A change is taken up within a second; a bad one is logged and left.

    Raises:
        SettingsError: the file cannot be read or is not good; it names JWT_PRIVATE_KEY_FILE.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._state = _state(path)
        self._looked = time.monotonic()
        self._ring = read_keys(path)

    @classmethod
    def at(cls, configured: Path | None, data_dir: Path) -> "SigningKeys":
        """Reads `JWT_PRIVATE_KEY_FILE`, or else a file in `data_dir`, which is made when missing.

        Raises:
            SettingsError: no good file is there and none can be made.
        """
        if configured is not None:
            return cls(configured)
        path = data_dir / GENERATED
        if not path.exists():
            _generate(path)
        return cls(path)

    @property
    def ring(self) -> KeyRing:
        """The keys as they are now."""
        if time.monotonic() - self._looked >= _LOOK_SECONDS:
            self._looked = time.monotonic()
            if (state := _state(self._path)) != self._state:
                self._state = state
                self._reread()
        return self._ring

    def _reread(self) -> None:
        try:
            ring = read_keys(self._path)
        except SettingsError as error:
            log.error("keys.bad_file", error=str(error))  # noqa: TRY400 - the message says it all
            return
        kept = self._ring.public
        # The same key stays the same object: the verifier recognizes it by that.
        public = {kid: kept.get(kid, key) for kid, key in ring.public.items()}
        self._ring = KeyRing(ring.kid, ring.private, public, ring.jwks)
        log.info("keys.reread", kid=ring.kid, keys=len(public))

    async def key(self, kid: str) -> Ed25519PublicKey | None:
        """Returns one of our own public keys; None when it is none of ours."""
        return self.ring.public.get(kid)

    def sign(self, claims: Mapping[str, Any]) -> str:
        """Returns a JWT that says `claims`, signed with the first private key."""
        ring = self.ring
        return jwt.encode(dict(claims), ring.private, algorithm=ALGORITHM, headers={"kid": ring.kid})


class AnyOf:
    """Several sources of keys as one: the first that has a key with the id."""

    def __init__(self, *sources: KeySource) -> None:
        self._sources = sources

    async def key(self, kid: str) -> Ed25519PublicKey | None:
        """Returns the key with this id; None when no source has it.

        Raises:
            KeysUnavailableError: no earlier source has it, and one cannot tell now.
        """
        for source in self._sources:
            if (key := await source.key(kid)) is not None:
                return key
        return None


def read_keys(path: Path) -> KeyRing:
    """Reads the keys of the PEM file at `path`.

    Raises:
        SettingsError: it cannot be read, holds something else, or no private key.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise _bad(path, f"cannot be read ({error.strerror})") from None
    private: list[Ed25519PrivateKey] = []
    public: dict[str, Ed25519PublicKey] = {}
    for block in _BLOCK.finditer(content):
        key = _key_of(path, block[0], block[1].decode())
        if isinstance(key, Ed25519PrivateKey):
            private.append(key)
            key = key.public_key()
        public[thumbprint(key)] = key
    if not private:
        raise _bad(path, "has no private key in PEM")
    return KeyRing(thumbprint(private[0].public_key()), private[0], public, _jwks(public))


def _key_of(path: Path, block: bytes, label: str) -> Ed25519PrivateKey | Ed25519PublicKey:
    try:
        match label:
            case "PRIVATE KEY":
                key: object = serialization.load_pem_private_key(block, password=None)
            case "PUBLIC KEY":
                key = serialization.load_pem_public_key(block)
            case _:
                raise _bad(path, f"holds a block {label!r}")
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise _bad(path, f"holds a block {label!r} that cannot be read") from None
    if not isinstance(key, Ed25519PrivateKey | Ed25519PublicKey):
        raise _bad(path, "holds a key that is not Ed25519")
    return key


def _bad(path: Path, what: str) -> SettingsError:
    allowed = "it must be a PEM file of Ed25519 keys, as `openssl genpkey -algorithm ed25519` makes"
    return SettingsError([f"JWT_PRIVATE_KEY_FILE={str(path)!r} {what}; {allowed}"])


def _state(path: Path) -> tuple[int, int, int] | None:
    """Returns a value that changes when the file does."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino


def thumbprint(key: Ed25519PublicKey) -> str:
    """Returns the key's id: its JWK thumbprint (RFC 7638, RFC 8037)."""
    members = {"crv": "Ed25519", "kty": "OKP", "x": _base64url(key.public_bytes_raw())}
    return _base64url(hashlib.sha256(orjson.dumps(members, option=orjson.OPT_SORT_KEYS)).digest())


def _jwks(public: Mapping[str, Ed25519PublicKey]) -> bytes:
    return orjson.dumps(
        {
            "keys": [
                {
                    "kty": "OKP",
                    "crv": "Ed25519",
                    "x": _base64url(key.public_bytes_raw()),
                    "kid": kid,
                    "use": "sig",
                    "alg": ALGORITHM,
                }
                for kid, key in public.items()
            ]
        }
    )


def _base64url(raw: bytes) -> str:
    return urlsafe_b64encode(raw).rstrip(b"=").decode()


def _generate(path: Path) -> None:
    """Makes a key file that only its owner reads. Of several at once, one is kept, whole."""
    pem = Ed25519PrivateKey.generate().private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    draft = path.with_name(f"{path.name}.{secrets.token_hex(8)}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with open(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:  # noqa: PTH123 - the mode from the first moment on
            file.write(pem)
            file.flush()
            os.fsync(file.fileno())
        try:
            path.hardlink_to(draft)  # fails when another process was first
        except FileExistsError:
            return
        finally:
            draft.unlink()
    except OSError as error:
        raise SettingsError(
            [f"JWT_PRIVATE_KEY_FILE is not set, and no key can be made at {path} ({error.strerror})"]
        ) from None
    log.info("keys.generated", path=str(path))
