"""Enters sockets into rooms and takes them out: registry, lease of the room and presence, in step."""

import asyncio
from typing import Protocol

import structlog

from shared.events import chat_room, user_room
from ws_gateway.metrics import EVICTIONS, ROOMS
from ws_gateway.rooms.rooms import Rooms
from ws_gateway.rooms.subscriptions import JoinBuffer, Socket, Subscription

log = structlog.get_logger()


class Leases(Protocol):
    """Leases of rooms, by which publishers know which rooms this gateway holds."""

    async def hold(self, room: str) -> None:
        """Returns when what is published for the room from now on comes here or is reported as missed."""

    async def drop(self, room: str) -> None:
        """Takes one hold back."""


class Presence(Protocol):
    """The users who are online in a chat."""

    def left(self, chat_id: str, user_id: str) -> None:
        """Counts one of the user's sockets here no longer."""


class Membership:
    """The one way into rooms and out of them. `tasks` runs what leaving sets off."""

    def __init__(
        self,
        *,
        rooms: Rooms,
        leases: Leases,
        presence: Presence,
        tasks: asyncio.TaskGroup,
        join_buffer_events: int,
    ) -> None:
        self._rooms = rooms
        self._leases = leases
        self._presence = presence
        self._tasks = tasks
        self._join_buffer_events = join_buffer_events

    async def enter_own(self, socket: Socket) -> None:
        """Puts a socket into its user's room, buffering what comes; returns once nothing is missed."""
        socket.own = self._enter(socket, user_room(socket.user_id))
        await self.lease(socket.own)

    def enter(self, socket: Socket, room: str) -> Subscription:
        """Puts a socket into a chat's room, buffering what comes until it is released.

        Nothing is missed only once `lease` has returned.
        """
        subscription = self._enter(socket, room)
        socket.chats[room] = subscription
        return subscription

    async def lease(self, subscription: Subscription) -> None:
        """Buffers what comes for a subscription, and leases its room; returns once nothing is missed."""
        if subscription.buffer is None:
            subscription.buffer = JoinBuffer(self._join_buffer_events)
        if subscription.leased:
            return
        await self._leases.hold(subscription.room)
        if subscription.ended:
            await self._leases.drop(subscription.room)
        else:
            subscription.leased = True

    def leave(self, subscription: Subscription) -> None:
        """Takes a subscription out of its room; safe to repeat."""
        if subscription.ended:
            return
        subscription.ended = True
        subscription.buffer = None
        socket = subscription.socket
        socket.chats.pop(subscription.room, None)
        if socket.own is subscription:
            socket.own = None
        self._rooms.leave(subscription)
        ROOMS.set(len(self._rooms))
        if subscription.leased:
            self._tasks.create_task(self._leases.drop(subscription.room))
        if subscription.present:
            self._presence.left(subscription.chat_id, socket.user_id)

    def leave_all(self, socket: Socket) -> None:
        """Takes a socket out of every room: no frame of any room reaches it any more."""
        for subscription in list(socket.chats.values()):
            self.leave(subscription)
        if socket.own is not None:
            self.leave(socket.own)

    def evict(self, chat_id: str, user_id: str | None = None) -> None:
        """Puts a user's sockets, or all, out of a chat, those that are still joining too."""
        for socket, subscription in list(self._rooms.of(chat_room(chat_id)).items()):
            if user_id is None or socket.user_id == user_id:
                self.leave(subscription)
                EVICTIONS.inc()
                log.info("membership.evicted", chat_id=chat_id, user_id=socket.user_id, sid=socket.sid)

    def _enter(self, socket: Socket, room: str) -> Subscription:
        subscription = Subscription(socket, room, JoinBuffer(self._join_buffer_events))
        self._rooms.enter(subscription)
        ROOMS.set(len(self._rooms))
        return subscription
