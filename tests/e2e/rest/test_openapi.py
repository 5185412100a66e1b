"""The OpenAPI document tells the truth: Schemathesis tries what it describes."""

import asyncio
import sys
from pathlib import Path

import pytest
from support.rest import Api
from support.stack import Services

CHECKS = (
    "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance,"
    "negative_data_rejection,ignored_auth"
)
CALLS = {
    "/api/auth/register": {"post"},
    "/api/auth/login": {"post"},
    "/api/auth/refresh": {"post"},
    "/api/auth/logout": {"post"},
    "/api/me": {"get"},
    "/api/users": {"get"},
    "/api/chat": {"get", "post"},
    "/api/chat/{chatId}": {"get", "patch", "delete"},
    "/api/chat/{chatId}/sync": {"get"},
    "/api/chat/{chatId}/members": {"post"},
    "/api/chat/{chatId}/members/{userId}": {"delete"},
    "/api/chat/messages": {"post"},
    "/api/chat/{chatId}/messages": {"get"},
    "/api/chat/{chatId}/messages/{messageId}": {"patch", "delete"},
    "/api/chat/{chatId}/read": {"post"},
}


async def test_every_call_is_described(api: Api) -> None:
    """OpenAPI 3.1, with each call of the contract."""
    document = (await api.call("GET", "/openapi.json")).expect(200)
    assert document["openapi"].startswith("3.1")
    for path, methods in CALLS.items():
        assert methods <= set(document["paths"].get(path, {})), path


@pytest.mark.timeout(150)
async def test_the_api_does_what_it_describes(services: Services, tmp_path: Path) -> None:
    """No server error, no undescribed status, no body that does not fit its schema."""
    async with Api(services.api.url) as api:
        alice = await api.register("alice")
    command = [
        sys.executable, "-m", "schemathesis.cli", "run", f"{services.api.url}/openapi.json",
        "--header", f"Authorization: Bearer {alice.token}",
        "--checks", CHECKS,
        "--phases", "examples,coverage,fuzzing",
        "--exclude-path", "/api/auth/logout",
        "--max-examples", "5",
        "--seed", "1",
        "--workers", "1",  # more are threads, which Hypothesis's caches are not made for
        "--no-color",
    ]  # fmt: skip
    process = await asyncio.create_subprocess_exec(
        *command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT, cwd=tmp_path
    )
    output, _ = await process.communicate()
    assert process.returncode == 0, output.decode()[-6_000:]
