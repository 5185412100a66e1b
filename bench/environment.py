"""Starts what a run needs: private servers, an API that costs nothing, tokens, and the publishers."""

import base64
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import jwt
import orjson
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from support.servers import PostgresServer, RabbitServer, RedisServer, running
from support.servers.ports import free_port
from support.servers.process import Folder, Process, accepts

from bench.load.feeders import GroupFeeder, Plain, SingleFeeder, plain, publishers
from bench.meter import Meter
from shared.ids import new_id

ROOT: Final = Path(__file__).parent.parent
NODE: Final = Path(__file__).parent / "node"
KEY_ID: Final = "bench"
TOKEN_SECONDS: Final = 6 * 3600
START_SECONDS: Final = 30.0


@dataclass(frozen=True, slots=True)
class Environment:
    """The environment that all rows share.

    Attributes:
        broker, store: what RabbitMQ and Redis use.
        api: the stand-in's address.
        folder: where processes write their logs.
    """

    rabbit: str
    redis: str
    broker: Meter
    store: Meter
    api: str
    folder: Path
    key: Ed25519PrivateKey
    group_feeder: GroupFeeder
    single_feeder: SingleFeeder
    plain: Callable[[str], Plain]

    def token(self, user_id: str, *, key_id: str = KEY_ID) -> str:
        """Returns an access token of a session of its own."""
        issued = int(time.time())
        claims = {
            "iss": "roomcast",
            "aud": "roomcast",
            "sub": user_id,
            "name": "Somebody",
            "sid": new_id(),
            "iat": issued,
            "exp": issued + TOKEN_SECONDS,
            "jti": new_id(),
        }
        return jwt.encode(claims, self.key, algorithm="EdDSA", headers={"kid": key_id})


@asynccontextmanager
async def environment() -> AsyncIterator[Environment]:
    """Yields an environment on servers of its own for as long as the block runs; nothing is left of them."""
    async with (
        running(RabbitServer()) as rabbit,
        running(RedisServer()) as redis,
        environment_on(rabbit, redis) as made,
    ):
        yield made


@asynccontextmanager
async def environment_on(rabbit: RabbitServer, redis: RedisServer) -> AsyncIterator[Environment]:
    """Yields an environment on servers that are there."""
    install_node_packages()
    key = Ed25519PrivateKey.generate()
    folder = Folder("bench")
    async with AsyncExitStack() as ends:
        ends.callback(folder.remove)
        port = free_port()
        standin = Process("standin", folder.path / "standin.log")
        ends.callback(standin.kill)
        command = [sys.executable, "-m", "bench.fake_api", str(port), key_set(key).decode()]
        standin.spawn(command, cwd=ROOT, drop_rights=False)
        await standin.until(lambda: accepts(port), seconds=START_SECONDS)
        group_feeder, single_feeder = await ends.enter_async_context(publishers(rabbit.url, redis.url))
        yield Environment(
            rabbit=rabbit.url,
            redis=redis.url,
            broker=Meter(rabbit.pid),
            store=Meter(redis.pid),
            api=f"http://127.0.0.1:{port}",
            folder=folder.path,
            key=key,
            group_feeder=group_feeder,
            single_feeder=single_feeder,
            plain=await ends.enter_async_context(plain(rabbit.url)),
        )


@asynccontextmanager
async def database() -> AsyncIterator[PostgresServer]:
    """Yields a PostgreSQL for as long as the block runs."""
    async with running(PostgresServer()) as server:
        yield server


def key_set(key: Ed25519PrivateKey) -> bytes:
    """Returns the JWK set with the public half of `key`."""
    raw = key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
    x = base64.urlsafe_b64encode(raw).rstrip(b"=").decode()
    one = {"kty": "OKP", "crv": "Ed25519", "x": x, "kid": KEY_ID, "alg": "EdDSA", "use": "sig"}
    return orjson.dumps({"keys": [one]})


def install_node_packages() -> None:
    """Installs what the references on Node need, once."""
    if not (NODE / "node_modules" / "socket.io").exists():
        subprocess.run(["npm", "ci", "--no-audit", "--no-fund", "--silent"], cwd=NODE, check=True)
