"""The operator's view: health, logs, settings, limits."""

import asyncio
import json
import re
import sys
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from support.client_kinds import Connect, NewClient, Register
from support.rest import Answer, Api, Person
from support.servers.ports import free_port
from support.servers.process import Process
from support.stack import COMMAND, MODULES, ROOT, Kind, Services, Stack


async def test_every_service_tells_its_health(stack: Stack) -> None:
    """`/healthz`, `/readyz` and `/metrics` on each, open to all; other paths 404."""
    for service in (stack.api, stack.gateway, stack.worker):
        for path in ("/healthz", "/readyz", "/metrics"):
            assert await service.status(path) == 200, (service.kind, path)
        assert await service.status("/no-such-path") == 404, service.kind


@pytest.mark.parametrize("kind", MODULES)
async def test_metrics_are_prometheus_text(stack: Stack, kind: Kind) -> None:
    """Each service's own metrics carry its name."""
    async with aiohttp.ClientSession() as http, http.get(f"{stack.of(kind)[0].url}/metrics") as answer:
        assert answer.headers["content-type"].startswith("text/plain")
        text = await answer.text()
    assert re.search(rf"^# TYPE roomcast_{kind}_\w+ (counter|gauge|histogram)$", text, re.MULTILINE)


def log_lines(output: str) -> list[dict[str, Any]]:
    """The log, decoded: every line is one JSON object."""
    return [json.loads(line) for line in output.splitlines() if line]


async def test_a_request_id_follows_a_message(
    services: Services, register: Register, new_client: NewClient
) -> None:
    """The `X-Request-Id` of a post stands in the logs of API, gateway and worker."""
    async with Api(services.api.url) as api:
        alice = await api.register("alice")
        chat_id = await alice.open_chat(assistant="always")
        socket = new_client("js-websocket")
        await socket.connect(services.gateway.url, auth={"token": alice.token})
        assert (await socket.emit("join-chat", chat_id))["ok"]
        request_id = f"trace-me-{free_port()}"
        body = {"chatId": chat_id, "content": "hello"}
        answer = await alice.call("POST", "/api/chat/messages", body, headers={"X-Request-Id": request_id})
        assert (answer.status, answer.headers["x-request-id"]) == (201, request_id)
        await socket.wait("ai-status", where=lambda s: s["status"] == "completed")
    for service in (services.api, services.gateway, services.worker):
        found = [line for line in log_lines(service.process.output) if request_id in line.values()]
        assert found, service.kind


async def test_logs_hold_no_secret_and_no_body(services: Services) -> None:
    """Neither passwords nor tokens nor what people wrote stand in any log."""
    secret = "a-word-that-must-not-be-logged"
    async with Api(services.api.url) as api:
        account = {"username": f"secretive-{free_port()}", "password": f"pw-{secret}"}
        session = (await api.call("POST", "/api/auth/register", account)).expect(201)
        wrong = {**account, "password": f"wrong-{secret}"}
        await api.call("POST", "/api/auth/login", wrong)
        await api.call("POST", "/api/chat", {"title": secret, "x": 1}, token=session["accessToken"])
        chat = await api.call("POST", "/api/chat", {"title": secret}, token=session["accessToken"])
        message = {"chatId": chat.json["id"], "content": secret, "metadata": {"a": secret}}
        await api.call("POST", "/api/chat/messages", message, token=session["accessToken"])
        await api.call("GET", f"/api/me?access_token={session['accessToken']}", token=session["accessToken"])
    for service in (services.api, services.gateway, services.worker):
        for word in (secret, session["accessToken"], session["refreshToken"]):
            assert word not in service.process.output, service.kind


async def run(tmp_path: Path, *command: str, **settings: str) -> tuple[int, str]:
    """Runs a command to its end in an empty folder; exit status and output."""
    process = Process("command", tmp_path / "output")
    env = {"PATH": "/usr/bin:/bin", "HOME": str(tmp_path), "PYTHONPATH": str(ROOT), **settings}
    process.spawn([sys.executable, *command], env=env, drop_rights=False)
    return await process.ended(seconds=20), process.output


@pytest.mark.parametrize(
    ("module", "needed"),
    [
        ("chat_api", ["DATABASE_URL", "RABBITMQ_URL", "REDIS_URL"]),
        ("ws_gateway", ["RABBITMQ_URL", "REDIS_URL"]),
        ("ai_worker", ["RABBITMQ_URL", "REDIS_URL"]),
    ],
)
async def test_a_service_names_what_it_lacks(tmp_path: Path, module: str, needed: list[str]) -> None:
    """Without its servers' addresses a service refuses to start, names every one, and shows no traceback."""
    status, output = await run(tmp_path, "-m", module)
    assert status != 0
    assert all(name in output for name in needed)
    assert "Traceback" not in output


async def test_wrong_settings_are_all_named_at_once(tmp_path: Path) -> None:
    """Each wrong variable by name with its value, unless it is a secret; no traceback."""
    wrong = {
        "GATEWAY_PORT": "seventy",
        "LOG_LEVEL": "shouting",
        "CORS_ORIGINS": "example.org",
        "RATE_LIMITS": "perhaps",
        "RABBITMQ_URL": "http://user:hunter2@broker",
        "REDIS_URL": "redis//:hunter2@store",
    }
    status, output = await run(tmp_path, "-m", "ws_gateway", **wrong)
    assert status != 0
    assert all(name in output for name in wrong), output
    assert all(value in output for value in ("seventy", "shouting", "example.org", "perhaps")), output
    assert "hunter2" not in output
    assert "Traceback" not in output


async def test_an_api_does_not_start_on_an_empty_database(tmp_path: Path, services: Services) -> None:
    """`roomcast api` refuses an older schema and says what to run."""
    url = services.settings["DATABASE_URL"].rpartition("/")[0] + "/postgres"
    settings = {**services.settings, "DATABASE_URL": url, "API_PORT": str(free_port())}
    status, output = await run(tmp_path, "-m", "chat_api", **settings)
    assert status != 0
    assert "roomcast migrate" in output


async def test_a_taken_port_is_named(tmp_path: Path, services: Services) -> None:
    """A second gateway on the same port ends with a line that says which variable to change."""
    status, output = await run(tmp_path, "-m", "ws_gateway", **services.settings)
    assert status != 0
    assert "GATEWAY_PORT" in output
    assert "Traceback" not in output


async def test_migrating_twice_is_harmless(tmp_path: Path, services: Services) -> None:
    """`roomcast migrate` on a current schema changes nothing."""
    status, output = await run(tmp_path, *COMMAND, "migrate", **services.settings)
    assert status == 0, output


async def test_limits_answer_with_when_to_come_back(services: Services, new_client: NewClient) -> None:
    """With `RATE_LIMITS=on`, too many posts are 429 with `Retry-After`; on sockets, an error."""
    served = await services.add("api", RATE_LIMITS="on")
    gateway = await services.add("gateway", RATE_LIMITS="on", API_URL=served.url)
    async with Api(served.url) as api:
        alice = await api.register("alice")
        chat_id = await alice.open_chat()
        assert (await alice.post(chat_id, "once")).status == 201
        async with asyncio.timeout(60), asyncio.TaskGroup() as posters:
            posting = [posters.create_task(_post_until_limited(alice)) for _ in range(20)]
        for answer in [poster.result() for poster in posting]:
            assert answer.code == "rate_limited"
            assert int(answer.headers["retry-after"]) >= 1
        socket = new_client("python-websocket")
        await socket.connect(gateway.url, auth={"token": alice.token})
        await socket.wait("connected")
        acks = await asyncio.gather(*(socket.emit("heartbeat") for _ in range(300)))
        assert {ack["ok"] for ack in acks} == {True, False}
        assert {ack["error"]["code"] for ack in acks if not ack["ok"]} == {"rate_limited"}
    await services.remove(gateway)
    await services.remove(served)


async def _post_until_limited(person: Person) -> Answer:
    """The first answer that is a 429. The posts miss their chat, else a slow machine would not get there."""
    while True:
        answer = await person.post(person.id, "again")
        if answer.status == 429:
            return answer
        assert answer.status == 404


async def test_sockets_of_one_s_own_page_may_ask_the_api(stack: Stack, api: Api, connect: Connect) -> None:
    """CORS: own origins may read answers and `Idempotency-Replayed`; foreign ones get no permission."""
    wanted = {
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "authorization,content-type,idempotency-key",
    }
    own = {"Origin": stack.gateway.url}
    preflight = await api.call("OPTIONS", "/api/chat/messages", headers={**own, **wanted})
    assert preflight.status in {200, 204}
    assert preflight.headers["access-control-allow-origin"] == stack.gateway.url
    allowed = preflight.headers["access-control-allow-headers"].lower()
    assert all(name in allowed for name in ("authorization", "content-type", "idempotency-key"))
    answer = await api.call("GET", "/healthz", headers={"Origin": "http://evil.example"})
    assert "access-control-allow-origin" not in answer.headers
