"""The terminal client against servers that misbehave, which the real ones cannot be made to do."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest
import socketio
from aiohttp import web
from support.servers.ports import free_port

from roomcast.chat.connection.account import Account, LoggedOutError
from roomcast.chat.connection.link import Link
from roomcast.chat.connection.outbox import Outbox
from roomcast.chat.connection.rest import ChatError, RefusedError, Rest, UnreachableError
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


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    server = Server()
    async with server.running():
        yield server


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as session:
        yield session


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


def joins(server: Server) -> list[int]:
    return [payload["afterSeq"] for event, payload in server.asked if event == "join-chat"]


def ack(*seqs: int, more: bool = False) -> dict[str, Any]:
    missed = [message(seq) for seq in seqs]
    return {"ok": True, "chatId": "c", "lastSeq": max(seqs, default=0), "missed": missed, "hasMore": more}


def refused(code: str) -> dict[str, Any]:
    return {"ok": False, "error": {"code": code, "message": "no"}}


async def test_it_joins_again_until_nothing_is_missing(server: Server, http: aiohttp.ClientSession) -> None:
    """`hasMore`: again, after what came; an API that is away for a moment: again, a little later."""
    server.acks = [ack(1, 2, more=True), refused("unavailable"), ack(3)]
    async with linked(server, http) as listener:
        await server.until(lambda: listener.seqs == [1, 2, 3])
        assert joins(server) == [0, 2, 2]


async def test_a_resync_makes_it_join_again(server: Server, http: aiohttp.ClientSession) -> None:
    """After the time it is told, with the last message it knows."""
    server.acks = [ack(1, 2)]
    async with linked(server, http) as listener:
        await server.until(lambda: len(joins(server)) == 1)
        await server.sockets.emit("resync", {"chatId": None, "inMs": 50})
        await server.until(lambda: len(joins(server)) == 2)
        assert joins(server) == [0, 2]
        assert listener.out == []


async def test_a_lost_connection_comes_back_by_itself(server: Server, http: aiohttp.ClientSession) -> None:
    """Refused for a while, then joined after the last known message; each change is told."""
    server.acks = [ack(1)]
    async with linked(server, http) as listener:
        await server.until(lambda: len(joins(server)) == 1)
        server.refuse = [{"code": "draining"}]
        [sid] = [sid for sid, _ in server.sockets.manager.get_participants("/", None)]
        await server.sockets.disconnect(sid)
        await server.until(lambda: len(joins(server)) == 2)
        assert joins(server) == [0, 1]
        lost, draining, back = listener.troubles[1:]
        assert "lost" in lost
        assert "draining" in draining
        assert back == ""


async def test_a_chat_that_is_gone_is_told(server: Server, http: aiohttp.ClientSession) -> None:
    """Once; it is not asked for again."""
    server.acks = [refused("not_found")]
    async with linked(server, http) as listener:
        await server.until(lambda: bool(joins(server)))
        await server.sockets.emit("chat-activity", {"chatId": "other"})
        await server.until(lambda: ("chat-activity", {"chatId": "other"}) in listener.events)
        assert listener.out == ["c"]
        assert joins(server) == [0]


@pytest.mark.parametrize("name", ["connect", "call"])
async def test_it_ends_though_the_library_swallows_the_word(
    server: Server, http: aiohttp.ClientSession, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """`asyncio.wait_for` of Python 3.11 does, when a cancellation comes together with what it waits for."""
    original, waiting = getattr(socketio.AsyncClient, name), asyncio.Event()

    async def swallowing(self: socketio.AsyncClient, *arguments: Any, **options: Any) -> Any:
        result = await original(self, *arguments, **options)
        try:
            waiting.set()
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            return result

    monkeypatch.setattr(socketio.AsyncClient, name, swallowing)
    async with asyncio.timeout(BOUND), linked(server, http):
        await waiting.wait()


async def test_an_expiring_token_is_replaced_on_the_socket(
    server: Server, http: aiohttp.ClientSession
) -> None:
    """Told by the gateway, renewed at the API, handed to the gateway; the socket stays."""
    async with linked(server, http):
        await server.until(lambda: bool(joins(server)))
        await server.sockets.emit("token-expiring", {"expiresAt": "2026-11-21T09:30:00.123Z"})
        await server.until(lambda: ("refresh-token", {"token": "access-2"}) in server.asked)
        assert server.connects == ["access-1"]


async def test_a_short_token_is_renewed_before_its_end(server: Server, http: aiohttp.ClientSession) -> None:
    """Without being told."""
    server.life = 1.0
    async with linked(server, http):
        await server.until(lambda: any(event == "refresh-token" for event, _ in server.asked))


async def test_a_refused_token_is_renewed(server: Server, http: aiohttp.ClientSession) -> None:
    """The next attempt comes with a new one."""
    server.refuse = [{"code": "token_expired"}]
    async with linked(server, http):
        await server.until(lambda: bool(joins(server)))
        assert server.connects == ["access-1", "access-2"]


async def test_who_is_not_let_in_is_told_so(server: Server, http: aiohttp.ClientSession) -> None:
    """Instead of trying for ever."""
    server.refuse = [{"code": "origin_forbidden"}]
    link = Link(http, server.url, await server.logged_in(http), Listener(Place(), server.changed))
    with pytest.raises(ChatError, match="origin_forbidden"):
        await asyncio.wait_for(link.run(), BOUND)


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


async def unavailable(request: web.Request) -> web.StreamResponse:
    return problem(503, "unavailable", **{"Retry-After": "1"})


async def cut(request: web.Request) -> web.StreamResponse:
    assert request.transport is not None
    request.transport.abort()
    return web.Response()


async def too_long(request: web.Request) -> web.StreamResponse:
    return problem(422, "validation_failed")


async def test_a_post_is_tried_until_there_is_an_answer(server: Server, http: aiohttp.ClientSession) -> None:
    """Over a lost connection and a 503, with one key, before the next post, and told once."""
    server.answers = [cut, unavailable]
    sent, notices = await posted(server, http, "one", "two")
    bodies = [body["content"] for _, body in server.posts]
    keys = [key for key, _ in server.posts]
    assert bodies == ["one", "one", "one", "two"]
    assert len(set(keys[:3])) == 1
    assert keys[3] != keys[0]
    assert [it.seq for it in sent] == [3, 4]
    assert len(notices) == 1


async def test_a_refused_post_is_told_and_holds_up_nothing(
    server: Server, http: aiohttp.ClientSession
) -> None:
    """Trying again would not help."""
    server.answers = [too_long]
    sent, notices = await posted(server, http, "much too long", "fine")
    assert notices == ["Not sent: It is validation_failed."]
    assert len(sent) == 1


async def test_an_expired_token_costs_a_renewal_and_no_message(
    server: Server, http: aiohttp.ClientSession
) -> None:
    """The same post with the same key, under a new token."""

    async def expired(request: web.Request) -> web.StreamResponse:
        return problem(401, "token_expired")

    server.answers = [expired]
    sent, notices = await posted(server, http, "one")
    assert len(sent) == 1
    assert len({key for key, _ in server.posts}) == 1
    assert server.tokens == 2
    assert notices == []


async def test_an_ended_session_ends_the_client(server: Server, http: aiohttp.ClientSession) -> None:
    """With words that say what to do."""

    async def ended(request: web.Request) -> web.StreamResponse:
        return problem(401, "token_invalid")

    server.answers, server.refresh_refused = [ended], True
    with pytest.raises(LoggedOutError, match="roomcast chat"):
        await posted(server, http, "one")


async def test_an_api_that_is_not_there_is_named(http: aiohttp.ClientSession) -> None:
    """The line says where it was looked for, and what to start."""
    with pytest.raises(UnreachableError, match=r"127\.0\.0\.1:1 .*roomcast up"):
        await Rest(http, "http://127.0.0.1:1").call("GET", "/api/me")
    with pytest.raises(UnreachableError, match="no URL"):
        await Rest(http, "nowhere").call("GET", "/api/me")


async def test_something_else_that_answers_is_no_api(server: Server, http: aiohttp.ClientSession) -> None:
    """A page is not a problem of the API's."""
    with pytest.raises(RefusedError, match="404"):
        await Rest(http, server.url).call("GET", "/nothing/here")
