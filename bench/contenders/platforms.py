"""Starts the whole path: Roomcast's API and gateway, or the same on Node, each on its own database."""

import re
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import Final

import aiohttp
import asyncpg
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from support.servers import PostgresServer
from support.servers.ports import free_port
from support.servers.process import Process, find_program

from bench.contenders.gateways import NODE_GATEWAY, ROOMCAST, Gateway, Profile, gateway, settings
from bench.environment import NODE, ROOT, START_SECONDS, Environment, key_set
from bench.meter import Meter
from shared.ids import new_id, now

_TABLES: Final = (
    "INSERT INTO users (id, username, display_name) VALUES ($1, $1, 'Somebody')",
    (
        "INSERT INTO chats (id, title, owner_id, assistant, created_at, updated_at) "
        "VALUES ($1, 'A chat', $2, 'off', $3, $3)"
    ),
    "INSERT INTO members (chat_id, user_id, role, joined_at) VALUES ($1, $2, $3, $4)",
)
_STOP_SECONDS: Final = 30.0


@dataclass(frozen=True, slots=True)
class Platform:
    """An API with a gateway.

    Attributes:
        people: each member's token and chat; five in a row are in the same chat.
    """

    kind: str
    api_port: int
    api: Meter
    gateway: Gateway
    people: Sequence[tuple[str, str]]


@asynccontextmanager
async def platform(
    kind: str,
    environment: Environment,
    postgres: PostgresServer,
    *,
    chats: int,
    members: int,
    profile: Profile | None,
) -> AsyncIterator[Platform]:
    """Yields one of the two, with so many chats of so many members, for as long as the block runs."""
    database = await postgres.new_database()
    async with AsyncExitStack() as ends:
        port = free_port()
        key = environment.folder / f"key-{port}.pem"
        key.write_bytes(environment.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        env = {
            **settings(kind, environment, port),
            "DATABASE_URL": database,
            "API_PORT": str(port),
            "DATA_DIR": str(environment.folder / "data"),
            "JWT_PRIVATE_KEY_FILE": str(key),
            "JWKS": key_set(environment.key).decode(),
        }
        migrating = Process("roomcast migrate", environment.folder / f"migrate-{port}.log")
        command = [sys.executable, "-c", "from roomcast.cli import main; main()", "migrate"]
        migrating.spawn(command, env=env, cwd=ROOT, drop_rights=False)
        if await migrating.ended(seconds=START_SECONDS) != 0:
            raise migrating.failure("failed")
        people = await _peopled(database, chats, members)

        api = Process(f"{kind} API", environment.folder / f"api-{port}.log")
        ends.callback(api.kill)
        api.spawn(_command(kind), env=env, cwd=ROOT, drop_rights=False)
        url = f"http://127.0.0.1:{port}"
        await api.until(partial(_serves_keys, url), seconds=START_SECONDS)
        token = partial(environment.token, key_id=await _key_id(url))
        where = {"API_URL": url, "JWKS_URL": f"{url}/.well-known/jwks.json"}
        one = await ends.enter_async_context(
            gateway(kind, environment, name="whole-path", profile=profile, changes=where)
        )
        tokens = [(token(user), chat) for user, chat in people]
        yield Platform(kind, port, Meter(api.pid), one, tokens)


def _command(kind: str) -> list[str]:
    if kind == ROOMCAST:
        return [sys.executable, "-m", "chat_api"]
    assert kind == NODE_GATEWAY
    return [find_program("node", package="nodejs"), str(NODE / "api.mjs")]


async def _peopled(database: str, chats: int, members: int) -> list[tuple[str, str]]:
    """Writes users, chats and memberships; returns each member as a user id and a chat id."""
    people = [(new_id(), chat) for chat in (new_id() for _ in range(chats)) for _ in range(members)]
    connection = await asyncpg.connect(database)
    try:
        user, chat, member = _TABLES
        await connection.executemany(user, [(each,) for each, _ in people])
        await connection.executemany(chat, [(there, each, now()) for each, there in people[::members]])
        roles = ["owner", *["member"] * (members - 1)] * chats
        rows = [(there, each, role, now()) for (each, there), role in zip(people, roles, strict=True)]
        await connection.executemany(member, rows)
        await connection.execute("ANALYZE")
    finally:
        await connection.close()
    return people


async def _serves_keys(url: str) -> bool:
    try:
        await _key_id(url)
    except (aiohttp.ClientError, AttributeError):
        return False
    return True


async def _key_id(url: str) -> str:
    async with aiohttp.ClientSession() as http, http.get(f"{url}/.well-known/jwks.json") as answer:
        found = re.search(r'"kid":\s*"([^"]+)"', await answer.text())
        return found[1] if found else ""
