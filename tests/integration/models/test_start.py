"""A program that could not write replies does not start; the others do not care."""

from pathlib import Path
from typing import Any, Final

import pytest
from support.program import roomcast
from support.servers.ports import free_port

from chat_api.settings import ApiSettings
from ws_gateway.settings import GatewaySettings

NO_KEY: Final = {"AI_MODEL": "openai:gpt-5.2", "OPENAI_API_KEY": "", "OPENAI_BASE_URL": ""}
NO_MODULE: Final = {"AI_AGENT": "nonesuch:agent"}


def files_in(folder: Path) -> list[Path]:
    return list(folder.iterdir())


@pytest.mark.parametrize("command", ["worker", "up"])
@pytest.mark.parametrize(
    ("variables", "line"),
    [
        (NO_KEY, "AI_MODEL='openai:gpt-5.2' needs OPENAI_API_KEY: set it"),
        (NO_MODULE, "AI_AGENT='nonesuch:agent' importing nonesuch failed"),
    ],
    ids=["a key", "a module"],
)
async def test_what_is_missing_stops_the_start(
    tmp_path: Path, command: str, variables: dict[str, Any], line: str
) -> None:
    """Before a server is reached for or a file is made, with a line that says what to do."""
    nowhere = {
        "RABBITMQ_URL": f"amqp://127.0.0.1:{free_port()}/",
        "REDIS_URL": f"redis://127.0.0.1:{free_port()}/0",
    }
    ended = await roomcast(command, cwd=tmp_path, **nowhere, **variables)
    assert ended.status == 2
    assert line in ended.errors
    assert "Traceback" not in ended.errors
    assert files_in(tmp_path) == []


def test_only_the_worker_reads_what_is_the_assistants() -> None:
    """The API and the gateway start without a key and without the package."""
    fields = {*ApiSettings.model_fields, *GatewaySettings.model_fields}
    assert not [field for field in fields if field.startswith("ai_")]
