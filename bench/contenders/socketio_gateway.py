"""Runs the reference in Python: python-socketio as its documentation has it, and no slower than need be.

The same job as Roomcast's gateway: verifies tokens (and remembers them), asks the API on `join-chat`, relays
events of the bus into rooms. uvloop, orjson, kept connections to the API, no compression, no acknowledgements
to the broker, nothing logged.
"""

import os
import time
from collections import OrderedDict
from typing import Any, Final

import aio_pika
import aiohttp
import jwt
import orjson
import socketio
import uvloop
from aiohttp import web
from jwt.algorithms import OKPAlgorithm

REMEMBERED: Final = 10_000
PREFETCH: Final = 1000
API: Final = os.environ["API_URL"]


class Json:
    """The module orjson, as python-socketio wants a JSON module."""

    @staticmethod
    def dumps(value: Any, **_: Any) -> str:
        return orjson.dumps(value).decode()

    @staticmethod
    def loads(text: str | bytes, **_: Any) -> Any:
        return orjson.loads(text)


sio = socketio.AsyncServer(
    async_mode="aiohttp", json=Json, cors_allowed_origins=[], http_compression=False, namespaces=["/"]
)


class Tokens:
    """A verifier of tokens that remembers those verified."""

    def __init__(self, keys: dict[str, Any]) -> None:
        self._keys = keys
        self._verified: OrderedDict[str, dict[str, Any]] = OrderedDict()

    def verify(self, token: str) -> dict[str, Any]:
        known = self._verified.get(token)
        if known is not None and known["exp"] > time.time():
            self._verified.move_to_end(token)
            return known
        key = self._keys[jwt.get_unverified_header(token)["kid"]]
        claims: dict[str, Any] = jwt.decode(
            token, key, algorithms=["EdDSA"], audience="roomcast", issuer="roomcast"
        )
        self._verified[token] = claims
        if len(self._verified) > REMEMBERED:
            self._verified.popitem(last=False)
        return claims


async def serve() -> None:
    """Serves until killed."""
    http = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=64))
    async with http.get(f"{API}/.well-known/jwks.json") as response:
        found = await response.json()
    tokens = Tokens({each["kid"]: OKPAlgorithm.from_jwk(each) for each in found["keys"]})

    @sio.event  # type: ignore[untyped-decorator]
    async def connect(sid: str, _environ: dict[str, Any], auth: dict[str, Any]) -> None:
        try:
            claims = tokens.verify(auth["token"])
        except (jwt.PyJWTError, KeyError, TypeError) as error:
            raise socketio.exceptions.ConnectionRefusedError("token_invalid") from error
        await sio.save_session(sid, {"token": auth["token"], "user": claims["sub"]})
        await sio.enter_room(sid, f"user:{claims['sub']}")
        welcome = {"userId": claims["sub"], "sessionId": claims["sid"], "socketId": sid}
        await sio.emit("connected", welcome, to=sid)

    @sio.on("join-chat")  # type: ignore[untyped-decorator]
    async def join_chat(sid: str, chat_id: str) -> dict[str, Any]:
        session = await sio.get_session(sid)
        async with http.get(
            f"{API}/api/chat/{chat_id}/sync", headers={"Authorization": f"Bearer {session['token']}"}
        ) as response:
            if response.status != 200:
                return {"ok": False, "error": {"code": "not_found", "message": "No such chat."}}
            state = orjson.loads(await response.read())
        await sio.enter_room(sid, f"chat:{chat_id}")
        return {**state, "ok": True, "chatId": chat_id}

    runner = web.AppRunner(application(), access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", int(os.environ["GATEWAY_PORT"]), backlog=4096).start()
    await consume()


def application() -> web.Application:
    app = web.Application()
    sio.attach(app)
    return app


async def consume() -> None:
    """Relays what the bus has, for ever."""
    connection = await aio_pika.connect(os.environ["RABBITMQ_URL"])
    channel = await connection.channel()
    await channel.set_qos(prefetch_count=PREFETCH)
    queue = await channel.declare_queue(exclusive=True)
    await queue.bind(os.environ["EXCHANGE"], routing_key=os.environ["ROUTING_KEY"])

    async def relay(message: aio_pika.abc.AbstractIncomingMessage) -> None:
        headers: Any = message.headers
        body = orjson.loads(message.body)
        await sio.emit(headers["cloudEvents_name"], body, room=headers["cloudEvents_rooms"])
        if users := headers.get("cloudEvents_users"):
            activity = {"chatId": body["chatId"], "lastSeq": body["seq"], "lastMessage": body}
            await sio.emit("chat-activity", activity, room=[f"user:{user}" for user in users])

    async with queue.iterator(no_ack=True) as messages:
        print("ready", flush=True)
        async for message in messages:
            await relay(message)


if __name__ == "__main__":
    uvloop.run(serve())
