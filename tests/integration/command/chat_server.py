"""A server of the terminal client that misbehaves by a script, and a link to it."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import socketio
from aiohttp import web
from support.servers.ports import free_port

from roomcast.chat.connection.account import Account
from roomcast.chat.connection.link import Link
from roomcast.chat.connection.outbox import Outbox
from roomcast.chat.connection.rest import Rest
from roomcast.chat.models import Joined, Message

BOUND = 10.0
Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]


def message(seq: int, content: str = "text") -> dict[str, Any]:
    fields = {"id": f"m{seq}", "chatId": "c", "seq": seq, "role": "USER", "userId": "ann"}
    return {**fields, "content": content, "time": "2026-11-21T09:30:00.123Z"}


def problem(status: int, code: str, **headers: str) -> web.Response:
    body = {"type": "about:blank", "title": "No", "status": status, "detail": f"It is {code}.", "code": code}
    return web.json_response(
        body, status=status, headers=headers or None, content_type="application/problem+json"
    )


class Server:
    """An API that answers posts as scripted, and a gateway that records what it is asked."""

    def __init__(self) -> None:
        self.url = f"http://127.0.0.1:{free_port()}"
        self.life = 900.0
        self.tokens = 0
        self.refresh_refused = False
        self.posts: list[tuple[str, dict[str, Any]]] = []
        self.answers: list[Answer] = []
        self.asked: list[tuple[str, Any]] = []
        self.acks: list[dict[str, Any]] = []
        self.connects: list[str] = []
        self.refuse: list[dict[str, Any]] = []
        self.changed = asyncio.Event()
        self.sockets = socketio.AsyncServer(async_mode="aiohttp")
        self.sockets.on("connect", self._connect)
        self.sockets.on("*", self._event)

    def session(self) -> web.Response:
        self.tokens += 1
        user = {"id": "ann", "username": "ann", "displayName": "Ann"}
        tokens = {"accessToken": f"access-{self.tokens}", "refreshToken": f"refresh-{self.tokens}"}
        return web.json_response({"user": user, "expiresIn": self.life, **tokens})

    async def until(self, met: Callable[[], bool]) -> None:
        async with asyncio.timeout(BOUND):
            while not met():
                self.changed.clear()
                await self.changed.wait()

    async def logged_in(self, http: aiohttp.ClientSession) -> Account:
        return await Account.log_in(Rest(http, self.url), "ann", "password")

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        app = web.Application()
        app.router.add_post("/api/auth/login", self._login)
        app.router.add_post("/api/auth/refresh", self._refresh)
        app.router.add_post("/api/chat/messages", self._post)
        self.sockets.attach(app)
        runner = web.AppRunner(app, shutdown_timeout=0.1)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", int(self.url.rsplit(":", 1)[1])).start()
        try:
            yield
        finally:
            await self.sockets.shutdown()
            await runner.cleanup()

    async def _login(self, request: web.Request) -> web.Response:
        return self.session()

    async def _refresh(self, request: web.Request) -> web.Response:
        body = await request.json()
        if self.refresh_refused or body["refreshToken"] != f"refresh-{self.tokens}":
            return problem(401, "token_reused")
        self.changed.set()
        return self.session()

    async def _post(self, request: web.Request) -> web.StreamResponse:
        self.posts.append((request.headers["Idempotency-Key"], await request.json()))
        if request.headers["Authorization"] != f"Bearer access-{self.tokens}":
            return problem(401, "token_expired")
        if self.answers:
            return await self.answers.pop(0)(request)
        return web.json_response(message(len(self.posts)), status=201)

    async def _connect(self, sid: str, environ: object, auth: dict[str, str]) -> None:
        self.connects.append(auth["token"])
        self.changed.set()
        if self.refuse:
            raise socketio.exceptions.ConnectionRefusedError("no", self.refuse.pop(0))

    async def _event(self, event: str, sid: str, payload: Any = None) -> dict[str, Any]:
        self.asked.append((event, payload))
        self.changed.set()
        if event == "join-chat" and self.acks:
            return self.acks.pop(0)
        return {"ok": True, "chatId": "c", "lastSeq": 0, "missed": [], "hasMore": False, "online": []}


class Place:
    """A chat of which messages up to `last_seq` are known."""

    chat_id = "c"
    last_seq = 0


class Listener:
    """Keeps what it is told; what was missed is known from then on."""

    def __init__(self, place: Place, changed: asyncio.Event) -> None:
        self.place = place
        self._changed = changed
        self.seqs: list[int] = []
        self.joins = 0
        self.out: list[str] = []
        self.troubles: list[str] = []
        self.events: list[tuple[str, Any]] = []

    def joined(self, chat_id: str, joined: Joined) -> None:
        self.joins += 1
        self.seqs += [it.seq for it in joined.missed]
        self.place.last_seq = max([self.place.last_seq, *self.seqs])
        self._changed.set()

    def shut_out(self, chat_id: str) -> None:
        self.out.append(chat_id)

    def received(self, event: str, payload: Any) -> None:
        self.events.append((event, payload))
        self._changed.set()

    def link_changed(self, trouble: str) -> None:
        self.troubles.append(trouble)


@asynccontextmanager
async def linked(server: Server, http: aiohttp.ClientSession) -> AsyncIterator[Listener]:
    """A link in the chat's room."""
    place = Place()
    listener = Listener(place, server.changed)
    account = await server.logged_in(http)
    link = Link(http, server.url, account, listener)
    link.follow(place)
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(link.run()), group.create_task(account.keep_fresh())]
        await server.until(lambda: bool(server.connects))
        yield listener
        for task in tasks:
            task.cancel()


def ack(*seqs: int, more: bool = False) -> dict[str, Any]:
    missed = [message(seq) for seq in seqs]
    return {"ok": True, "chatId": "c", "lastSeq": max(seqs, default=0), "missed": missed, "hasMore": more}


async def posted(server: Server, http: aiohttp.ClientSession, *texts: str) -> tuple[list[Message], list[str]]:
    """Records what became of posts: the messages, and what the person was told."""
    sent: list[Message] = []
    notices: list[str] = []
    outbox = Outbox(await server.logged_in(http), sent=sent.append, notice=notices.append)
    task = asyncio.create_task(outbox.run())
    for text in texts:
        outbox.post("c", text)
    drained = asyncio.create_task(outbox.drained())
    await asyncio.wait({task, drained}, timeout=BOUND, return_when=asyncio.FIRST_COMPLETED)
    for one in (task, drained):
        one.cancel()
    for end in await asyncio.gather(task, drained, return_exceptions=True):
        if isinstance(end, Exception):
            raise end
    return sent, notices
