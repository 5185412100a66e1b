"""Keeps the terminal client's socket connected and in one chat's room, missing nothing."""

import asyncio
import logging
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, Final, Protocol

import aiohttp
import socketio
from pydantic import ValidationError

from roomcast.chat.connection.account import Account, LoggedOutError
from roomcast.chat.connection.rest import ChatError
from roomcast.chat.models import Joined
from shared.concurrency.backoff import backoff
from shared.concurrency.cancellation import raise_if_cancelled

ANSWER_SECONDS: Final = 10
RETRYABLE_CODES: Final = frozenset({"unavailable", "rate_limited", "draining"})
"""Codes after which the same may succeed a little later."""
TOKEN_CODES: Final = frozenset({"token_missing", "token_invalid", "token_expired"})

_silent: Final = logging.getLogger("roomcast.chat.socket")
_silent.addHandler(logging.NullHandler())
_silent.propagate = False  # the library's lines would stand between the messages


class LinkListener(Protocol):
    """The receiver of what the socket brings; called on the event loop, never awaited."""

    def joined(self, chat_id: str, joined: Joined) -> None:
        """Hears that the socket is in the chat's room, with what was missed since `last_seq`."""

    def shut_out(self, chat_id: str) -> None:
        """Hears that the chat is gone, or that one is no member of it any more."""

    def received(self, event: str, payload: Any) -> None:
        """Receives an event of the contract, in the order in which it arrived."""

    def link_changed(self, trouble: str) -> None:
        """Hears the reason why the socket is not connected; "" when it is."""


class Place(Protocol):
    """The chat whose room is joined."""

    @property
    def chat_id(self) -> str:
        """Returns the chat's id."""

    @property
    def last_seq(self) -> int:
        """Returns the `seq` up to which messages are known."""


class Link:
    """A Socket.IO connection that comes back by itself.

    `run` has to run for anything to happen.
    """

    def __init__(
        self, http: aiohttp.ClientSession, url: str, account: Account, listener: LinkListener
    ) -> None:
        self._http = http
        self._url = url
        self._account = account
        self._listener = listener
        self._place: Place | None = None
        self._join = asyncio.Event()
        self._token = ""
        self._token_changed = asyncio.Event()
        self._socket: socketio.AsyncClient | None = None
        self._refusal: Any = None
        self._ended = asyncio.Event()
        account.renewed = self._renewed

    def follow(self, place: Place | None) -> None:
        """Leaves the room it is in and joins this chat's."""
        self._place = place
        self._join.set()

    def catch_up(self) -> None:
        """Joins again with the last known message, as something may have been missed."""
        self._join.set()

    async def typing(self, chat_id: str, *, is_typing: bool) -> None:
        """Sends a sign of typing to the others in the room, when connected."""
        if self._socket is not None:
            with suppress(socketio.exceptions.SocketIOError):
                await self._socket.emit("typing", {"chatId": chat_id, "isTyping": is_typing})

    async def run(self) -> None:
        """Connects, again and again, until cancelled.

        Raises:
            ChatError: another attempt would not help: logged out, or this client is not let in.
        """
        delays = backoff(0.2, 5.0)
        while True:
            if await self._connection():
                delays = backoff(0.2, 5.0)
            await asyncio.sleep(next(delays))

    async def _connection(self) -> bool:
        """Runs one connection to its end; returns whether it was made at all."""
        socket = socketio.AsyncClient(
            reconnection=False,
            handle_sigint=False,
            http_session=self._http,
            logger=_silent,
            engineio_logger=_silent,
        )
        self._refusal, self._ended = None, asyncio.Event()
        socket.on("connect_error", self._refused)
        socket.on("disconnect", self._lost)
        socket.on("*", self._received)
        try:
            await socket.connect(
                self._url,
                auth={"token": await self._account.token()},
                transports=["websocket"],
                wait_timeout=ANSWER_SECONDS,
            )
            raise_if_cancelled()
            self._socket = socket
            await self._connected(socket)
        except LoggedOutError:
            raise
        except (socketio.exceptions.ConnectionError, ChatError) as error:
            self._not_connected(error)
            return False
        finally:
            self._socket = None
            await socket.disconnect()
        return True

    async def _connected(self, socket: socketio.AsyncClient) -> None:
        self._listener.link_changed("")
        self._token_changed.clear()
        self._join.set()
        async with asyncio.TaskGroup() as group:
            tasks = [
                group.create_task(self._keep_joined(socket)),
                group.create_task(self._pass_tokens(socket)),
            ]
            await self._ended.wait()
            for task in tasks:
                task.cancel()
        self._listener.link_changed("The connection was lost; trying again.")

    async def _keep_joined(self, socket: socketio.AsyncClient) -> None:
        room: str | None = None
        while True:
            await self._join.wait()
            self._join.clear()
            place = self._place
            if room is not None and (place is None or place.chat_id != room):
                await self._ask(socket, "leave-chat", room)
                room = None
            if place is not None and await self._joined(socket, place):
                room = place.chat_id

    async def _joined(self, socket: socketio.AsyncClient, place: Place) -> bool:
        delays = backoff(0.5, 5.0)
        while place is self._place:
            answer = await self._ask(
                socket, "join-chat", {"chatId": place.chat_id, "afterSeq": place.last_seq}
            )
            code = _code(answer)
            if code in RETRYABLE_CODES:
                await asyncio.sleep(next(delays))
            elif code:
                self._listener.shut_out(place.chat_id)
                return False
            else:
                joined = Joined.model_validate(answer)
                self._listener.joined(place.chat_id, joined)
                if not joined.has_more:
                    return True
        return False

    async def _pass_tokens(self, socket: socketio.AsyncClient) -> None:
        while True:
            await self._token_changed.wait()
            self._token_changed.clear()
            answer = await self._ask(socket, "refresh-token", {"token": self._token})
            if _code(answer) in RETRYABLE_CODES:
                await asyncio.sleep(1)
                self._token_changed.set()

    async def _ask(self, socket: socketio.AsyncClient, event: str, payload: object) -> Any:
        """Returns the acknowledgement; ends the connection when none comes."""
        try:
            return await socket.call(event, payload, timeout=ANSWER_SECONDS)
        except socketio.exceptions.SocketIOError:
            self._ended.set()
            await asyncio.Event().wait()  # the end of the connection cancels this
        finally:
            raise_if_cancelled()

    def _received(self, event: str, *payloads: Any) -> None:
        payload = payloads[0] if payloads else None
        match event, payload:
            case "token-expiring", _:
                self._account.renew_soon()
            case "resync", {"inMs": int() | float() as pause}:
                asyncio.get_running_loop().call_later(pause / 1000, self.catch_up)
            case _:
                with suppress(ValidationError):  # a form of a later version: the next join brings the truth
                    self._listener.received(event, payload)

    def _renewed(self, token: str) -> None:
        self._token = token
        self._token_changed.set()

    def _refused(self, reason: Any = None) -> None:
        self._refusal = reason

    def _lost(self, *_: Any) -> None:
        self._ended.set()

    def _not_connected(self, error: Exception) -> None:
        """Says what keeps the socket away; raises when that will not change."""
        code = _code({"ok": False, "error": _mapping(_mapping(self._refusal).get("data"))})
        if code == "origin_forbidden":
            raise ChatError(f"The gateway at {self._url} does not let this client in: {code}.") from error
        if code in TOKEN_CODES:
            self._account.renew_soon()
            self._listener.link_changed(f"The gateway refused the token ({code}); trying again.")
        elif code:
            self._listener.link_changed(f"The gateway refuses connections for now ({code}); trying again.")
        elif isinstance(error, ChatError):
            self._listener.link_changed(str(error))
        else:
            self._listener.link_changed(
                f"The gateway does not answer at {self._url}; trying again. Is it running? "
                "`roomcast up` starts it; --gateway-url gives another address."
            )


def _code(answer: Any) -> str:
    """Returns the code of a refusal; "" of what is none."""
    fields = _mapping(answer)
    return "" if fields.get("ok") else str(_mapping(fields.get("error")).get("code", ""))


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}
