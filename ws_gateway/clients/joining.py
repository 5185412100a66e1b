"""Joins sockets to chats without missing anything.

The order is what makes it so: enter the room and buffer its events for this socket; make sure that
publishers know of this gateway; ask the API for the chat as it is; acknowledge; release what was buffered and
came after.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

import orjson
import structlog

from shared.events import chat_room
from ws_gateway.clients.payloads import JoinChat
from ws_gateway.engine.application import Reply
from ws_gateway.engine.server import Engine
from ws_gateway.errors import GatewayError, NotFoundError, TooManyRoomsError, UnavailableError
from ws_gateway.metrics import JOINS
from ws_gateway.presence.presence import RoomPresence
from ws_gateway.rooms.chat_state import ChatAccess, ChatState
from ws_gateway.rooms.fanout import Fanout
from ws_gateway.rooms.membership import Membership
from ws_gateway.rooms.subscriptions import Socket, Subscription

log = structlog.get_logger()

_JOINED: Final = JOINS.labels("ok")
API_CALLS_AT_ONCE: Final = 64
API_SLOT_SECONDS: Final = 20.0
"""The longest that a join waits for one of those calls, which is when the API hardly answers."""


class Joining:
    """Answers `join-chat`."""

    def __init__(
        self,
        *,
        membership: Membership,
        access: ChatAccess,
        presence: RoomPresence,
        fanout: Fanout,
        engine: Engine,
        max_rooms: int,
    ) -> None:
        self._membership = membership
        self._access = access
        self._presence = presence
        self._fanout = fanout
        self._engine = engine
        self._max_rooms = max_rooms
        self._api_slots = asyncio.Semaphore(API_CALLS_AT_ONCE)

    async def join(self, socket: Socket, asked: JoinChat, reply: Reply) -> None:
        """Joins the chat, or answers anew to a socket that is in it already; acknowledges.

        Raises:
            GatewayError: it does not join. A socket that was in already stays in, unless it is `not_found`.
        """
        room = chat_room(asked.chat_id)
        try:
            async with socket.room_lock(room), socket.join_slots:
                await socket.connection.writable()
                await self._join(socket, room, asked.after_seq, reply)
        except GatewayError as error:
            JOINS.labels(error.code).inc()
            raise
        _JOINED.inc()

    async def _join(self, socket: Socket, room: str, seen: int | None, reply: Reply) -> None:
        subscription = socket.chats.get(room) or self._enter(socket, room)
        try:
            state, online = await self._sync(subscription, seen)
        except BaseException as error:
            self._undo(subscription, error)
            raise
        reply(orjson.dumps({**state.answer, "ok": True, "chatId": subscription.chat_id, "online": online}))
        # A socket that was in already and did not say what it has seen gets no messages by this answer: it
        # still needs all that was buffered.
        answered = seen is not None or not subscription.joined
        subscription.joined = True
        self._release(subscription, above=state.last_seq if answered else 0)

    def _enter(self, socket: Socket, room: str) -> Subscription:
        if socket.gone:
            raise NotFoundError
        if len(socket.chats) >= self._max_rooms:
            raise TooManyRoomsError
        return self._membership.enter(socket, room)

    async def _sync(self, subscription: Subscription, seen: int | None) -> tuple[ChatState, list[str]]:
        await self._membership.lease(subscription)
        async with self._api_slot():
            _check_still_in(subscription)
            asked_at = asyncio.get_running_loop().time()
            state = await self._access.sync(
                subscription.chat_id,
                seen,
                user_id=subscription.socket.user_id,
                token=subscription.socket.token,
            )
        _check_still_in(subscription)
        subscription.confirmed_at = asked_at
        online = await self._presence.enter(subscription)
        _check_still_in(subscription)
        return state, online

    @asynccontextmanager
    async def _api_slot(self) -> AsyncIterator[None]:
        """Bounds how many ask the API at once; the time that it has to answer begins with the slot."""
        if self._api_slots.locked():
            try:
                async with asyncio.timeout(API_SLOT_SECONDS):
                    await self._api_slots.acquire()
            except TimeoutError:
                raise UnavailableError from None
        else:
            await self._api_slots.acquire()  # at once
        try:
            yield
        finally:
            self._api_slots.release()

    def _undo(self, subscription: Subscription, error: BaseException) -> None:
        if subscription.joined and not isinstance(error, NotFoundError):
            self._release(subscription)
        else:
            self._membership.leave(subscription)

    def _release(self, subscription: Subscription, *, above: int = 0) -> None:
        if not self._fanout.release(subscription, above=above):
            socket = subscription.socket
            log.warning("joining.too_much_held", room=subscription.room, sid=socket.sid)
            self._membership.leave_all(socket)  # nothing may come after the hole
            self._engine.close(socket.connection)


def _check_still_in(subscription: Subscription) -> None:
    if subscription.ended:
        raise NotFoundError
