"""Acts of the model server, as chunks of OpenAI's streaming protocol or against it."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import orjson
from aiohttp import web

Usage = dict[str, int]


class Act(Protocol):
    """Answers one request."""

    async def answer(self, reply: "Reply") -> None:
        """Does what it does with the request."""


@dataclass(slots=True)
class Reply:
    """The way back to who asked.

    Attributes:
        model: the model that was asked for.
        sent: called after each chunk.
    """

    request: web.Request
    model: str
    response: web.StreamResponse = field(
        default_factory=lambda: web.StreamResponse(headers={"Content-Type": "text/event-stream"})
    )

    async def begin(self) -> None:
        if not self.response.prepared:
            await self.response.prepare(self.request)

    async def raw(self, data: bytes) -> None:
        await self.begin()
        await self.response.write(data)

    async def chunk(self, delta: dict[str, Any], *, finish: str | None = None) -> None:
        await self.event({"choices": [{"index": 0, "delta": delta, "finish_reason": finish}]})

    async def event(self, body: dict[str, Any]) -> None:
        head = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": self.model}
        await self.raw(b"data: " + orjson.dumps({**head, **body}) + b"\n\n")

    async def text(self, text: str, pause: float) -> None:
        for at in range(0, len(text), 8):
            if pause and at:
                await asyncio.sleep(pause)
            await self.chunk({"role": "assistant", "content": text[at : at + 8]})

    async def end(self, finish: str, usage: Usage) -> None:
        await self.chunk({}, finish=finish)
        total = sum(usage.values())
        await self.event({"choices": [], "usage": {**usage, "total_tokens": total}})
        await self.raw(b"data: [DONE]\n\n")

    def abort(self) -> None:
        transport = self.request.transport
        if transport is not None:
            transport.abort()


def _usage() -> Usage:
    return {"prompt_tokens": 11, "completion_tokens": 7}


@dataclass(frozen=True, slots=True)
class SaysText:
    """Streams `text`, eight characters a chunk, `pause` seconds apart; ends with `finish`."""

    text: str
    finish: str = "stop"
    pause: float = 0.0
    usage: Usage = field(default_factory=_usage)

    async def answer(self, reply: Reply) -> None:
        await reply.text(self.text, self.pause)
        await reply.end(self.finish, self.usage)


@dataclass(frozen=True, slots=True)
class SaysNothing:
    """A well-formed stream without a word."""

    finish: str = "stop"

    async def answer(self, reply: Reply) -> None:
        await reply.end(self.finish, _usage())


@dataclass(frozen=True, slots=True)
class CallsTool:
    """Asks for a call, its arguments in two chunks; says `first` before it."""

    name: str
    arguments: str = "{}"
    first: str = ""

    async def answer(self, reply: Reply) -> None:
        await reply.text(self.first, 0)
        half = len(self.arguments) // 2
        call = {"index": 0, "id": "call_1", "type": "function"}
        head = {"name": self.name, "arguments": self.arguments[:half]}
        await reply.chunk({"tool_calls": [{**call, "function": head}]})
        await reply.chunk({"tool_calls": [{"index": 0, "function": {"arguments": self.arguments[half:]}}]})
        await reply.end("tool_calls", _usage())


@dataclass(frozen=True, slots=True)
class Refuses:
    """Answers with a status and an error body."""

    status: int
    code: str | None = None
    message: str = "no"
    headers: Mapping[str, str] = field(default_factory=dict)

    async def answer(self, reply: Reply) -> None:
        error = {"message": self.message, "type": "error", "code": self.code}
        reply.response = web.json_response({"error": error}, status=self.status, headers=self.headers)


@dataclass(frozen=True, slots=True)
class Hangs:
    """Says `text`, then nothing more; holds the connection until it is closed by the other side."""

    text: str = ""
    headers_first: bool = False

    async def answer(self, reply: Reply) -> None:
        if self.headers_first:
            await reply.begin()
        await reply.text(self.text, 0)
        await asyncio.get_running_loop().create_future()


@dataclass(frozen=True, slots=True)
class Breaks:
    """Says `text`, then the connection breaks."""

    text: str = ""
    before: Callable[[], Awaitable[None]] | None = None

    async def answer(self, reply: Reply) -> None:
        await reply.text(self.text, 0)
        if self.before is not None:
            await self.before()
        reply.abort()


@dataclass(frozen=True, slots=True)
class EndsEarly:
    """Says `text`, then ends the stream in good order but without saying that this is all."""

    text: str

    async def answer(self, reply: Reply) -> None:
        await reply.text(self.text, 0)


@dataclass(frozen=True, slots=True)
class SendsRaw:
    """Says `text`, then sends bytes that are none of the protocol's."""

    raw: bytes
    text: str = ""

    async def answer(self, reply: Reply) -> None:
        await reply.text(self.text, 0)
        await reply.raw(self.raw)
