"""The API's signing keys: made once, rotated without a restart, published as a JWK set."""

import asyncio
import os
import stat
import threading
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import jwt
import orjson
import pytest
from aiohttp import web
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from chat_api.accounts import signing_keys as keys_module
from chat_api.accounts.signing_keys import AnyOf, SigningKeys, thumbprint
from shared.auth import jwks
from shared.auth.jwks import REFETCH_SECONDS, JwksKeys, KeysUnavailableError, public_keys
from shared.config.start_errors import SettingsError

PEM = serialization.Encoding.PEM


def private_pem(key: Ed25519PrivateKey | rsa.RSAPrivateKey) -> bytes:
    return key.private_bytes(PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())


def public_pem(key: Ed25519PublicKey) -> bytes:
    return key.public_bytes(PEM, serialization.PublicFormat.SubjectPublicKeyInfo)


@pytest.fixture(autouse=True)
def looking_always(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keys_module, "_LOOK_SECONDS", 0.0)


def test_a_key_is_made_once(tmp_path: Path) -> None:
    """For its owner's eyes only, in a folder that need not exist; later starts read it."""
    data = tmp_path / "new" / "data"
    first, second = SigningKeys.at(None, data), SigningKeys.at(None, data)
    assert first.ring.kid == second.ring.kid
    (file,) = data.iterdir()
    assert (file.name, stat.S_IMODE(file.stat().st_mode)) == ("jwt-private-key.pem", 0o600)


def test_starting_together_makes_one_key(tmp_path: Path) -> None:
    """Each of several processes ends with the same key."""
    together, kids = threading.Barrier(8), []

    def start() -> None:
        together.wait()
        kids.append(SigningKeys.at(None, tmp_path / "data").ring.kid)

    threads = [threading.Thread(target=start) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(kids) == 8
    assert len(set(kids)) == 1


def test_the_first_private_key_signs(tmp_path: Path) -> None:
    """All keys of the file are published; a private one never is."""
    first, second, third = (Ed25519PrivateKey.generate() for _ in range(3))
    file = tmp_path / "keys.pem"
    file.write_bytes(public_pem(third.public_key()) + private_pem(first) + b"a note\n" + private_pem(second))
    keys = SigningKeys.at(file, tmp_path / "unused")
    assert keys.ring.kid == thumbprint(first.public_key())
    published = public_keys(keys.ring.jwks)
    assert set(published) == {thumbprint(each.public_key()) for each in (first, second, third)}
    assert b'"d"' not in keys.ring.jwks
    header = jwt.get_unverified_header(keys.sign({"sub": "ada"}))
    assert (header["alg"], header["kid"]) == ("EdDSA", keys.ring.kid)
    assert not (tmp_path / "unused").exists()


def test_the_thumbprint_is_that_of_rfc_8037() -> None:
    """The example of its appendix A.3."""
    x = jwt.utils.base64url_decode("11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo")
    key = Ed25519PublicKey.from_public_bytes(x)
    assert thumbprint(key) == "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"


async def test_a_changed_file_is_taken_up(tmp_path: Path) -> None:
    """A rotation needs no restart; what stays is the same object; a bad file changes nothing."""
    first, second = Ed25519PrivateKey.generate(), Ed25519PrivateKey.generate()
    file = tmp_path / "keys.pem"
    file.write_bytes(private_pem(first))
    keys = SigningKeys.at(file, tmp_path)
    old_kid, old = keys.ring.kid, await keys.key(keys.ring.kid)
    file.write_bytes(private_pem(second) + public_pem(first.public_key()))
    assert keys.ring.kid == thumbprint(second.public_key())
    assert await keys.key(old_kid) is old
    file.write_bytes(b"broken")
    assert keys.ring.kid == thumbprint(second.public_key())
    file.unlink()
    assert keys.ring.kid == thumbprint(second.public_key())
    file.write_bytes(private_pem(second))
    assert await keys.key(old_kid) is None


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"not PEM",
        public_pem(Ed25519PrivateKey.generate().public_key()),
        private_pem(rsa.generate_private_key(65537, 2048)),
        b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n",
        b"-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n",
        private_pem(Ed25519PrivateKey.generate())
        + b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
    ],
)
def test_a_bad_file_stops_the_start(tmp_path: Path, content: bytes) -> None:
    """With a message that names the variable and the file, and shows nothing of the content."""
    file = tmp_path / "keys.pem"
    file.write_bytes(content)
    with pytest.raises(SettingsError, match=r"JWT_PRIVATE_KEY_FILE=.*keys\.pem") as refused:
        SigningKeys.at(file, tmp_path)
    assert "AAAA" not in str(refused.value)


def test_no_file_and_no_folder_stop_the_start(tmp_path: Path) -> None:
    """Also then the message names the variable."""
    with pytest.raises(SettingsError, match="JWT_PRIVATE_KEY_FILE"):
        SigningKeys.at(tmp_path / "missing.pem", tmp_path)
    (tmp_path / "file").touch()
    with pytest.raises(SettingsError, match="JWT_PRIVATE_KEY_FILE is not set"):
        SigningKeys.at(None, tmp_path / "file" / "data")
    assert os.listdir(tmp_path) == ["file"]  # noqa: PTH208 - names are enough


class Issuer:
    """Serves a JWK set, or does not."""

    def __init__(self) -> None:
        self.document = b'{"keys": []}'
        self.status = 200
        self.fetches = 0
        self.asked = asyncio.Event()
        self.url = ""

    async def serve(self, _: web.Request) -> web.Response:
        self.fetches += 1
        self.asked.set()
        return web.Response(status=self.status, body=self.document)


@pytest.fixture
async def issuer() -> AsyncIterator[Issuer]:
    serving = Issuer()
    app = web.Application()
    app.router.add_get("/keys", serving.serve)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    serving.url = f"http://127.0.0.1:{runner.addresses[0][1]}/keys"
    yield serving
    await runner.cleanup()


class Clock:
    """Stands still until it is moved."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def remote(issuer: Issuer, clock: Clock) -> AsyncIterator[JwksKeys]:
    async with aiohttp.ClientSession() as http:
        yield JwksKeys(issuer.url, http, clock=clock)


async def test_keys_come_from_the_issuer(
    issuer: Issuer, remote: JwksKeys, clock: Clock, tmp_path: Path
) -> None:
    """An unknown id fetches the set, at most once in ten seconds; the same key stays the same object."""
    own = SigningKeys.at(None, tmp_path)
    issuer.document = own.ring.jwks
    key = await remote.key(own.ring.kid)
    assert key == await own.key(own.ring.kid)
    assert remote.loaded
    for _ in range(20):
        assert await remote.key("unknown") is None
    assert issuer.fetches == 1
    clock.now += REFETCH_SECONDS
    assert await remote.key("unknown") is None
    assert issuer.fetches == 2
    assert await remote.key(own.ring.kid) is key


async def test_an_issuer_that_is_away_is_not_a_refusal(
    issuer: Issuer, remote: JwksKeys, clock: Clock, tmp_path: Path
) -> None:
    """Known keys stay known; whether others are good cannot be said."""
    own = SigningKeys.at(None, tmp_path)
    for status, document in ((500, b""), (200, b"not JSON"), (200, b"[]"), (200, b"x" * 300_000)):
        issuer.status, issuer.document = status, document
        clock.now += REFETCH_SECONDS
        with pytest.raises(KeysUnavailableError):
            await remote.key(own.ring.kid)
    assert not remote.loaded
    with pytest.raises(KeysUnavailableError):
        await remote.ping()
    issuer.status, issuer.document = 200, own.ring.jwks
    clock.now += REFETCH_SECONDS
    await remote.ping()
    assert await remote.key(own.ring.kid) is not None
    issuer.status = 503
    clock.now += REFETCH_SECONDS
    with pytest.raises(KeysUnavailableError):
        await remote.key("unknown")
    assert await remote.key(own.ring.kid) is not None


async def test_running_keeps_the_set(issuer: Issuer, remote: JwksKeys, tmp_path: Path) -> None:
    """It is fetched before anybody asks."""
    issuer.document = SigningKeys.at(None, tmp_path).ring.jwks
    running = asyncio.ensure_future(remote.run())
    await issuer.asked.wait()
    await remote.ping()
    running.cancel()
    assert remote.loaded
    assert issuer.fetches == 1


async def test_an_id_that_came_too_soon_is_looked_for_when_it_may_be(
    issuer: Issuer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A new key is known at the end of the ten seconds, whoever makes up ids meanwhile."""
    monkeypatch.setattr(jwks, "REFETCH_SECONDS", 0.5)
    async with aiohttp.ClientSession() as http:
        remote = JwksKeys(issuer.url, http)
        running = asyncio.ensure_future(remote.run())
        await issuer.asked.wait()
        assert await remote.key("made up") is None
        own = SigningKeys.at(None, tmp_path)
        issuer.document = own.ring.jwks
        before = issuer.fetches
        for number in range(10):
            assert await remote.key(f"made up {number}") is None
        assert await remote.key(own.ring.kid) is None
        issuer.asked.clear()
        async with asyncio.timeout(2):
            await issuer.asked.wait()
        assert issuer.fetches == before + 1
        assert await remote.key(own.ring.kid) is not None
        assert issuer.fetches == before + 1
        running.cancel()


async def test_two_sources_are_one(issuer: Issuer, remote: JwksKeys, tmp_path: Path) -> None:
    """The first that has the key; no word from the second is no refusal."""
    own, other = SigningKeys.at(None, tmp_path / "own"), SigningKeys.at(None, tmp_path / "other")
    both = AnyOf(own, remote)
    issuer.status = 500
    assert await both.key(own.ring.kid) is not None
    with pytest.raises(KeysUnavailableError):
        await both.key(other.ring.kid)


def test_only_ed25519_signing_keys_are_taken() -> None:
    """An issuer's other keys are passed over, not an error."""
    good = {"kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}
    entries: list[object] = [
        {**good, "kid": "good"},
        {**good, "kid": "named", "alg": "EdDSA", "use": "sig"},
        good,
        {**good, "kid": 7},
        {**good, "kid": "enc", "use": "enc"},
        {**good, "kid": "alg", "alg": "HS256"},
        {**good, "kid": "curve", "crv": "X25519"},
        {**good, "kid": "short", "x": "AA"},
        {**good, "kid": "none", "x": None},
        {"kty": "RSA", "kid": "rsa", "n": "AQAB", "e": "AQAB"},
        {"kty": "oct", "kid": "oct", "k": "AQAB"},
        7,
    ]
    document = orjson.dumps({"keys": entries})
    assert set(public_keys(document)) == {"good", "named"}
