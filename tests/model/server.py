"""A real HTTP server that speaks OpenAI's chat completions, streamed, with tool calls, by a script."""

from collections import defaultdict, deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final

from aiohttp import web
from servers.ports import free_port

from model.acts import Act, Reply

ANY: Final = "*"


class ModelServer:
    """Answers each request with the next act of its model's script; the last one again and again.

    Attributes:
        url: the base URL of the API.
        asked: the bodies of the requests so far, in order.
    """

    def __init__(self, port: int) -> None:
        self.url = f"http://127.0.0.1:{port}/v1"
        self.asked: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self._scripts: defaultdict[str, deque[Act]] = defaultdict(deque)

    def play(self, *acts: Act, model: str = ANY) -> None:
        """Replaces the script of a model; without one, of those that have none of their own."""
        self._scripts[model] = deque(acts)

    def asked_of(self, model: str) -> list[dict[str, Any]]:
        """The requests to one model."""
        return [body for body in self.asked if body["model"] == model]

    async def complete(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        self.asked.append(body)
        self.headers.append(dict(request.headers))
        script = self._scripts[body["model"]] or self._scripts[ANY]
        act = script.popleft() if len(script) > 1 else script[0]
        reply = Reply(request, body["model"])
        await act.answer(reply)
        return reply.response


@asynccontextmanager
async def model_server() -> AsyncIterator[ModelServer]:
    """The server, listening on a loopback port; a request that hangs ends with its client."""
    port = free_port()
    server = ModelServer(port)
    app = web.Application()
    app.router.add_post("/v1/chat/completions", server.complete)
    runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    try:
        yield server
    finally:
        await runner.cleanup()
