"""A gateway of its own for a test: the real one in this process, with an API that does as it is told."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import jwt
import orjson
import redis.asyncio
from aiohttp import web
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from jwt.algorithms import OKPAlgorithm

from shared.bus import Bus, Routed
from shared.bus.local import LocalBus
from shared.events import MESSAGE_CREATED, Event, chat_room
from shared.ids import new_id
from support.clients import PythonClient
from support.servers.ports import free_port
from ws_gateway.app import serve
from ws_gateway.limits import Limits
from ws_gateway.settings import GatewaySettings

KEY_ID = "k1"


class ScriptedApi:
    """Answers `sync` and the key set as a test says; a real API cannot be made to misbehave on demand.

    Attributes:
        key, kid: what tokens are signed with, and its id.
        chats: chat id to the ids of its members.
        last_seq: what every chat's `lastSeq` is.
        status: what `sync` answers with, instead of 200.
        times: how many more answers have that status; None for all.
        gate: `sync` answers once it is set.
        asked: the queries of all `sync` requests so far.
        key_sets: how often the key set was asked for.
        refused_sessions: whose tokens `sync` refuses.
    """

    def __init__(self) -> None:
        self.key = Ed25519PrivateKey.generate()
        self.kid = KEY_ID
        self.chats: dict[str, set[str]] = {}
        self.last_seq = 0
        self.missed: list[Any] = []
        self.status = 200
        self.times: int | None = None
        self.problem: dict[str, Any] = {}
        self.gate = asyncio.Event()
        self.gate.set()
        self.asked: list[tuple[str, dict[str, str]]] = []
        self.refused_sessions: set[str] = set()
        self.arrived = asyncio.Event()
        self.serves_keys = True
        self.key_sets = 0
        self.url = ""

    def token(self, user_id: str, *, seconds: int = 900, **changes: Any) -> str:
        """An access token; `changes` replace claims."""
        now = int(time.time())
        claims = {
            "iss": "roomcast",
            "aud": "roomcast",
            "sub": user_id,
            "name": f"Name of {user_id}",
            "sid": f"session-{user_id}",
            "iat": now,
            "exp": now + seconds,
            "jti": new_id(),
            **changes,
        }
        return jwt.encode(claims, self.key, algorithm="EdDSA", headers={"kid": self.kid})

    def open_chat(self, *members: str) -> str:
        """A new chat's id."""
        chat_id = new_id()
        self.chats[chat_id] = set(members)
        return chat_id

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[None]:
        app = web.Application()
        app.router.add_get("/.well-known/jwks.json", self._jwks)
        app.router.add_get("/api/chat/{chat_id}/sync", self._sync)
        runner = web.AppRunner(app, shutdown_timeout=0.1)
        await runner.setup()
        port = free_port()
        await web.TCPSite(runner, "127.0.0.1", port).start()
        self.url = f"http://127.0.0.1:{port}"
        try:
            yield
        finally:
            await runner.cleanup()

    async def _jwks(self, _: web.Request) -> web.Response:
        self.key_sets += 1
        if not self.serves_keys:
            return web.Response(status=503)
        public = OKPAlgorithm.to_jwk(self.key.public_key(), as_dict=True)
        return web.json_response({"keys": [{**public, "kid": self.kid, "alg": "EdDSA", "use": "sig"}]})

    async def _sync(self, request: web.Request) -> web.Response:
        chat_id = request.match_info["chat_id"]
        self.asked.append((chat_id, dict(request.query)))
        self.arrived.set()
        token = request.headers["Authorization"].removeprefix("Bearer ")
        claims = jwt.decode(token, options={"verify_signature": False})
        user_id = claims["sub"]
        if claims["sid"] in self.refused_sessions:
            return web.json_response({"code": "token_invalid"}, status=401)
        status = self.status
        if self.times is not None:
            self.times -= 1
            if self.times < 0:
                status = 200
        if status == 200 and user_id not in self.chats.get(chat_id, set()):
            status = 404
        answer = {
            "ok": True,
            "chatId": chat_id,
            "lastSeq": self.last_seq,
            "missed": self.missed if "afterSeq" in request.query else [],
            "hasMore": False,
            "reply": None,
            "online": [],
        }
        await self.gate.wait()
        return web.json_response(answer if status == 200 else self.problem, status=status)


@dataclass
class RunningGateway:
    """A gateway that serves, and what is around it."""

    url: str
    api: ScriptedApi
    bus: Bus
    redis: redis.asyncio.Redis
    stop: asyncio.Event
    serving: asyncio.Task[None]
    clients: list[PythonClient] = field(default_factory=list)

    async def connect(
        self,
        user_id: str,
        *,
        token: str | None = None,
        transports: tuple[str, ...] = ("websocket",),
        headers: dict[str, str] | None = None,
    ) -> PythonClient:
        """A connected socket of a user."""
        client = PythonClient(list(transports))
        self.clients.append(client)
        auth = {"token": self.api.token(user_id) if token is None else token}
        await client.connect(self.url, auth=auth, headers=headers)
        return client

    async def join(self, user_id: str, chat_id: str) -> PythonClient:
        """A socket of a user in a chat."""
        client = await self.connect(user_id)
        answer = await client.emit("join-chat", chat_id)
        assert answer["ok"], answer
        return client

    async def open_polling(self, http: aiohttp.ClientSession) -> str:
        """Opens an Engine.IO session by long-polling; the address to poll, and to post to."""
        url = f"{self.url}/socket.io/?EIO=4&transport=polling"
        async with http.get(url) as response:
            return f"{url}&sid={orjson.loads((await response.text())[1:])['sid']}"

    def connect_packet(self, user_id: str) -> str:
        """With which a client asks for a socket of a user."""
        return "40" + orjson.dumps({"token": self.api.token(user_id)}).decode()

    async def publish(self, *events: Event) -> None:
        """Publishes events to all gateways."""
        await self.bus.publish([Routed(event, None) for event in events])


def message_created(chat_id: str, seq: int, *members: str) -> Event:
    """A posted message."""
    return Event(
        type=MESSAGE_CREATED,
        name="new-msg",
        body=orjson.dumps({"id": f"m{seq}", "chatId": chat_id, "seq": seq, "content": f"message {seq}"}),
        subject=chat_id,
        rooms=(chat_room(chat_id),),
        seq=seq,
        users=members,
    )


@asynccontextmanager
async def running_gateway(
    store: redis.asyncio.Redis,
    *,
    bus: Bus | None = None,
    api: ScriptedApi | None = None,
    limits: Limits | None = None,
    before: Callable[[ScriptedApi], None] = lambda _: None,
    **settings: Any,
) -> AsyncIterator[RunningGateway]:
    """A gateway on `store` and a bus within this process, stopped in good order at the end."""
    api = api or ScriptedApi()
    before(api)
    async with api.serving():
        chosen = GatewaySettings.load(
            _env_file=None, api_url=api.url, gateway_port=free_port(), rate_limits=False, **settings
        )
        bus = bus or LocalBus()
        stop, started = asyncio.Event(), asyncio.Event()
        task = asyncio.create_task(
            serve(chosen, bus=bus, redis=store, stop=stop, started=started.set, limits=limits)
        )
        gateway = RunningGateway(f"http://127.0.0.1:{chosen.gateway_port}", api, bus, store, stop, task)
        try:
            first = asyncio.create_task(started.wait())
            await asyncio.wait({task, first}, return_when=asyncio.FIRST_COMPLETED)
            if task.done():
                await task
            if api.serves_keys:
                await _until_ready(gateway.url)
            yield gateway
        finally:
            for client in gateway.clients:
                with suppress(Exception):
                    await client.close()
            stop.set()
            async with asyncio.timeout(20):
                await task


async def eventually(look: Callable[[], Awaitable[Any]], *, is_: Any, seconds: float = 5.0) -> None:
    """Returns when `look` gives `is_`.

    Raises:
        TimeoutError: it did not within `seconds`.
    """
    async with asyncio.timeout(seconds):
        while await look() != is_:  # noqa: ASYNC110  # what is looked at has nothing to wait on
            await asyncio.sleep(0.02)


async def _until_ready(url: str) -> None:
    async with aiohttp.ClientSession() as http, asyncio.timeout(10):
        while True:
            async with http.get(f"{url}/readyz") as response:
                if response.status == 200:
                    return
            await asyncio.sleep(0.05)
