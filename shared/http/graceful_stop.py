"""The graceful end of an HTTP server: no request is lost on the way.

A client may send its next request on a kept-alive connection at the moment at which the server closes it: it
sees a reset, and cannot know whether the request was done. So a server that stops says `Connection: close`
with each answer, and leaves clients a moment to see it before it closes the connections that are idle.
"""

import asyncio
from typing import Final

from aiohttp import web

LINGER_SECONDS: Final = 1.0
"""How long connections that were kept alive are left open, at most, for a last request each."""
_LOOK_SECONDS: Final = 0.02


class Stopping:
    """The state of an HTTP server that may be about to stop.

    Attributes:
        begun: it is: `/readyz` answers 503, and every answer is the last on its connection.
    """

    def __init__(self) -> None:
        self.begun = False

    def watch(self, app: web.Application) -> None:
        """Makes the answers of `app` say so."""
        app[STOPPING] = self
        app.on_response_prepare.append(self._last_answer)

    async def _last_answer(self, _: web.Request, response: web.StreamResponse) -> None:
        if self.begun and not isinstance(response, web.WebSocketResponse):
            response.force_close()
            response.headers["Connection"] = "close"

    async def linger(self, runner: web.AppRunner, seconds: float) -> None:
        """Returns when no connection is open any more, but after `seconds` at the latest."""
        loop = asyncio.get_running_loop()
        until = loop.time() + seconds
        server = runner.server
        while server is not None and server.connections and loop.time() < until:  # noqa: ASYNC110
            # aiohttp tells nobody when a connection is closed.
            await asyncio.sleep(_LOOK_SECONDS)


STOPPING: Final = web.AppKey("stopping", Stopping)
