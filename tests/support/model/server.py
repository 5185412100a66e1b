"""A real HTTP server that speaks OpenAI's chat completions, streamed, with tool calls, by a script."""

from collections import defaultdict, deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import web

from support.model.acts import Act, Reply
from support.servers.ports import free_port


class ModelServer:
    """Answers each request with the next act of its script; the last one again and again.

    Attributes:
        url: the base URL of the API.
        asked: the bodies of the requests so far, in order.
    """

    def __init__(self) -> None:
        self._port = free_port()
        self.url = f"http://127.0.0.1:{self._port}/v1"
        self.asked: list[dict[str, Any]] = []
        self._runner: web.AppRunner | None = None
        self._scripts: defaultdict[tuple[str | None, str | None], deque[Act]] = defaultdict(deque)

    def play(self, *acts: Act, model: str | None = None, question: str | None = None) -> None:
        """Replaces the script of a model, or of a question, or of both; the closest counts."""
        self._scripts[model, question] = deque(acts)

    def asked_of(self, model: str) -> list[dict[str, Any]]:
        """The requests to one model."""
        return [body for body in self.asked if body["model"] == model]

    async def complete(self, request: web.Request) -> web.StreamResponse:
        """Does the next act."""
        body = await request.json()
        self.asked.append(body)
        reply = Reply(request, body["model"])
        await self._act(body).answer(reply)
        return reply.response

    def _act(self, body: dict[str, Any]) -> Act:
        said = [message["content"] for message in body["messages"] if message["role"] == "user"]
        model, question = body["model"], said[-1] if said else None
        keys = ((model, question), (None, question), (model, None), (None, None))
        script = next(script for key in keys if (script := self._scripts[key]))
        return script.popleft() if len(script) > 1 else script[0]

    @asynccontextmanager
    async def away(self) -> AsyncIterator[None]:
        """Within the block nobody listens there."""
        await self.close()
        try:
            yield
        finally:
            await self.open()

    async def open(self) -> None:
        """Listens; a request that hangs ends with its client."""
        app = web.Application()
        app.router.add_post("/v1/chat/completions", self.complete)
        self._runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", self._port).start()

    async def close(self) -> None:
        """Ends every connection."""
        if self._runner is not None:
            await self._runner.cleanup()


@asynccontextmanager
async def model_server() -> AsyncIterator[ModelServer]:
    """The server, listening on a loopback port."""
    server = ModelServer()
    await server.open()
    try:
        yield server
    finally:
        await server.close()
