"""The command line: what it says, and when it refuses."""

from importlib.metadata import version
from pathlib import Path

import asyncpg
import pytest
from support.program import ROOMCAST, roomcast
from support.servers import PostgresServer
from support.servers.ports import free_port

AWAY = "postgresql://user:hunter2@127.0.0.1:{port}/base"


async def test_it_says_its_version(tmp_path: Path) -> None:
    """The version of the package."""
    ended = await roomcast("--version", cwd=tmp_path)
    assert (ended.status, ended.output) == (0, f"roomcast {version('roomcast')}\n")


async def test_help_lists_the_commands(tmp_path: Path) -> None:
    """Those of the contract, in a line each."""
    ended = await roomcast("--help", cwd=tmp_path, COLUMNS="120")
    for command in ("up", "api", "gateway", "worker", "migrate", "chat", "events"):
        assert f" {command} " in ended.output


@pytest.mark.parametrize(
    ("command", "matters"),
    [
        ("up", ["DATA_DIR", "DATABASE_URL", "RABBITMQ_URL", "REDIS_URL", "--no-demo"]),
        ("api", ["DATABASE_URL", "RABBITMQ_URL", "REDIS_URL", "API_PORT", "JWT_PRIVATE_KEY_FILE"]),
        ("gateway", ["RABBITMQ_URL", "REDIS_URL", "GATEWAY_PORT", "API_URL", "JWKS_URL", "CORS_ORIGINS"]),
        ("worker", ["RABBITMQ_URL", "REDIS_URL", "WORKER_PORT", "AI_MODEL"]),
        ("migrate", ["DATABASE_URL"]),
        ("events", ["list", "show", "tail", "replay", "dead", "DATABASE_URL", "DATA_DIR"]),
        ("chat", ["--user", "--password", "--chat", "--api-url", "--gateway-url"]),
    ],
)
async def test_help_of_a_command_names_what_matters(tmp_path: Path, command: str, matters: list[str]) -> None:
    """The variables and options that one looks for."""
    ended = await roomcast(command, "--help", cwd=tmp_path, COLUMNS="120")
    assert ended.status == 0
    assert all(name in ended.output for name in matters)


async def test_help_imports_no_service(tmp_path: Path) -> None:
    """It comes at once."""
    program = "import sys, roomcast.cli; print({'aiohttp', 'sqlalchemy', 'socketio'} & set(sys.modules))"
    ended = await roomcast(cwd=tmp_path, program=["-c", program])
    assert ended.output == "set()\n"


@pytest.mark.parametrize(
    ("program", "missing"),
    [
        ([*ROOMCAST, "api"], ["RABBITMQ_URL", "REDIS_URL", "DATABASE_URL"]),
        ([*ROOMCAST, "gateway"], ["RABBITMQ_URL", "REDIS_URL"]),
        ([*ROOMCAST, "worker"], ["RABBITMQ_URL", "REDIS_URL"]),
        ([*ROOMCAST, "migrate"], ["DATABASE_URL"]),
        (["-m", "chat_api"], ["RABBITMQ_URL", "REDIS_URL", "DATABASE_URL"]),
        (["-m", "ws_gateway"], ["RABBITMQ_URL", "REDIS_URL"]),
        (["-m", "ai_worker"], ["RABBITMQ_URL", "REDIS_URL"]),
    ],
)
async def test_on_its_own_a_service_needs_its_servers(
    tmp_path: Path, program: list[str], missing: list[str]
) -> None:
    """It refuses to start, says which variables to set and to what, and leaves no file."""
    ended = await roomcast(cwd=tmp_path, program=program)
    lines = ended.errors.splitlines()
    assert ended.status == 2
    assert [line.split()[0] for line in lines] == missing
    assert all("is not set: set it to a URL like" in line for line in lines)
    assert not any(tmp_path.iterdir())  # noqa: ASYNC240  # a local folder


@pytest.mark.parametrize("command", ["up", "api", "gateway", "worker", "migrate", "chat"])
async def test_wrong_settings_are_lines_not_a_traceback(tmp_path: Path, command: str) -> None:
    """Each with its variable; the status is 2."""
    ended = await roomcast(command, cwd=tmp_path, API_PORT="none", LOG_LEVEL="loud")
    assert ended.status == 2
    assert "API_PORT='none' must be a port, 1 to 65535" in ended.errors
    assert "LOG_LEVEL='loud' must be debug" in ended.errors
    assert "Traceback" not in ended.errors


async def test_the_worker_refuses_models_that_it_does_not_have(tmp_path: Path) -> None:
    """Instead of answering with another one."""
    links = {"RABBITMQ_URL": "amqp://127.0.0.1:1", "REDIS_URL": "redis://127.0.0.1:1"}
    ended = await roomcast("worker", cwd=tmp_path, AI_MODEL="nobody:gpt-5", **links)
    assert ended.status == 2
    assert ended.errors.startswith("AI_MODEL='nobody:gpt-5' must be demo")


async def test_a_database_that_is_away_stops_the_migration(tmp_path: Path) -> None:
    """With a line that shows no password."""
    ended = await roomcast("migrate", cwd=tmp_path, DATABASE_URL=AWAY.format(port=free_port()))
    assert ended.status == 1
    assert "DATABASE_URL does not answer" in ended.errors
    assert "hunter2" not in ended.errors
    assert "Traceback" not in ended.errors


async def test_migrating_again_changes_nothing(tmp_path: Path, postgres: PostgresServer) -> None:
    """An empty database gets the schema; a second run finds it."""
    url = await postgres.new_database()
    first = await roomcast("migrate", cwd=tmp_path, DATABASE_URL=url, LOG_FORMAT="json")
    second = await roomcast("migrate", cwd=tmp_path, DATABASE_URL=url, LOG_FORMAT="json")
    assert (first.status, second.status) == (0, 0)
    assert "schema.upgraded" in first.errors
    assert "schema.current" in second.errors


@pytest.mark.parametrize("command", ["migrate", "up"])
async def test_a_schema_that_is_too_old_is_a_line_not_a_traceback(
    tmp_path: Path, postgres: PostgresServer, command: str
) -> None:
    """It says what was found and what to do; status 1."""
    url = await postgres.new_database()
    connection = await asyncpg.connect(url)
    await connection.execute("CREATE TABLE alembic_version (version_num varchar(32) PRIMARY KEY)")
    await connection.execute("INSERT INTO alembic_version VALUES ('0003')")
    await connection.close()
    ended = await roomcast(command, cwd=tmp_path, DATABASE_URL=url)
    assert ended.status == 1
    assert "at version 0003, which is too old to be upgraded: bring it to 0005 with" in ended.errors
    assert "Traceback" not in ended.errors


async def test_the_api_refuses_a_database_without_schema(tmp_path: Path, postgres: PostgresServer) -> None:
    """It says which command to run; status 1, no traceback."""
    links = {"RABBITMQ_URL": "amqp://127.0.0.1:1", "REDIS_URL": "redis://127.0.0.1:1"}
    url = await postgres.new_database()
    ended = await roomcast("api", cwd=tmp_path, DATABASE_URL=url, API_PORT=str(free_port()), **links)
    assert ended.status == 1
    assert "roomcast migrate" in ended.errors
    assert "Traceback" not in ended.errors
