"""Sockets made of python-socketio's asyncio client."""

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, Final

import aiohttp
import socketio
from socketio.exceptions import ConnectionError as NotConnectedError

from support.clients.interface import WAIT_SECONDS, Ack, RefusedError, SocketClient

_PARTING_SECONDS: Final = 0.5


class PythonClient(SocketClient):
    """One socket of python-socketio."""

    def __init__(self, transports: Sequence[str]) -> None:
        super().__init__()
        self._transports = list(transports)
        self._refusal: Any = None
        self._http: aiohttp.ClientSession | None = None
        self._client: socketio.AsyncClient | None = None

    async def connect(
        self, url: str, *, auth: Any = None, headers: dict[str, str] | None = None, reconnection: bool = False
    ) -> None:
        self._http = aiohttp.ClientSession()
        self._client = socketio.AsyncClient(http_session=self._http, reconnection=reconnection)
        self._client.on("*", self._arrived)
        self._client.on("disconnect", self._ended)
        self._client.on("connect_error", self._refused)
        try:
            await self._client.connect(
                url,
                auth=auth,
                headers=headers or {},
                transports=self._transports,
                wait_timeout=WAIT_SECONDS,
            )
        except NotConnectedError as error:
            await self.close()
            refusal = self._refusal if isinstance(self._refusal, dict) else {}
            raise RefusedError(str(refusal.get("message", error)), refusal.get("data")) from None

    async def emit(self, event: str, *args: Any) -> Ack:
        assert self._client is not None
        answer: Ack = await self._client.call(event, args, timeout=WAIT_SECONDS)
        return answer

    async def close(self) -> None:
        if self._client is not None:
            # On long-polling this library waits for the poll that it left open.
            with suppress(TimeoutError):
                async with asyncio.timeout(_PARTING_SECONDS):
                    await self._client.shutdown()
        if self._http is not None:
            await self._http.close()

    def _refused(self, data: Any = None) -> None:
        self._refusal = data
