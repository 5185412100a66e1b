"""After something may have been missed: sockets are told to join again, and memberships are looked at again.

A lost `member.removed` would leave a former member in the room, so the gateway itself asks the API about
everybody who has not joined again by then.
"""

import asyncio
import random
from collections.abc import Callable, Iterator
from typing import Final

import structlog

from shared.events import user_room
from ws_gateway.errors import GatewayError, NotFoundError
from ws_gateway.metrics import RESYNCS
from ws_gateway.rooms.chat_state import ChatAccess
from ws_gateway.rooms.fanout import Fanout
from ws_gateway.rooms.membership import CHAT_PREFIX, Membership, chat_of
from ws_gateway.rooms.rooms import Rooms, Subscription
from ws_gateway.rooms.sockets import Socket, Sockets

log = structlog.get_logger()

SPREAD_MS: Final = 2_000
SPREAD_PER_SOCKET_MS: Final = 2
LONGEST_SPREAD_MS: Final = 30_000
RECHECK_SECONDS: Final = 15.0
RECHECKS_AT_ONCE: Final = 8

USER_PREFIX: Final = user_room("")


class Resync:
    """Tells sockets, spread over time, and checks memberships afterwards."""

    def __init__(
        self,
        *,
        sockets: Sockets,
        rooms: Rooms,
        fanout: Fanout,
        membership: Membership,
        access: ChatAccess,
        spread: Callable[[int], int] = lambda most: random.randint(0, most),  # noqa: S311  # spreads load
        recheck_seconds: float = RECHECK_SECONDS,
    ) -> None:
        self._sockets = sockets
        self._rooms = rooms
        self._fanout = fanout
        self._membership = membership
        self._access = access
        self._spread = spread
        self._recheck_seconds = recheck_seconds
        self._suspects: dict[Subscription, float] = {}
        self._news = asyncio.Event()

    def everyone(self) -> None:
        """Any event may have been missed."""
        for socket in self._sockets:
            self._tell(socket, None)
            self._suspect(list(socket.chats.values()))

    def rooms(self, missed: frozenset[str] | None) -> None:
        """Events of these rooms may have been missed; None: of any room."""
        if missed is None:
            self.everyone()
            return
        for room in missed:
            subscriptions = list(self._rooms.of(room).values())
            chat_id = chat_of(room) if room.startswith(CHAT_PREFIX) else None
            for subscription in subscriptions:
                if self._sockets.get(subscription.socket.sid) is not None:  # told that it is connected
                    self._tell(subscription.socket, chat_id)
            if chat_id is not None:
                self._suspect(subscriptions)

    async def run(self) -> None:
        """Looks again at memberships that may be outdated, for ever."""
        while True:
            await self._news.wait()
            await asyncio.sleep(self._recheck_seconds)
            self._news.clear()
            suspects, self._suspects = self._suspects, {}
            todo = iter(suspects.items())
            async with asyncio.TaskGroup() as tasks:
                for _ in range(RECHECKS_AT_ONCE):
                    tasks.create_task(self._recheck_all(todo))

    async def _recheck_all(self, todo: Iterator[tuple[Subscription, float]]) -> None:
        for subscription, since in todo:
            await self._recheck(subscription, since)

    async def _recheck(self, subscription: Subscription, since: float) -> None:
        if subscription.ended or subscription.confirmed_at > since:
            return
        asked_at = asyncio.get_running_loop().time()
        try:
            await self._access.sync(
                chat_of(subscription.room),
                None,
                user_id=subscription.socket.user_id,
                token=subscription.socket.token,
            )
        except NotFoundError:
            self._membership.leave(subscription)
            log.info("resync.put_out", room=subscription.room, sid=subscription.socket.sid)
        except GatewayError:
            self._suspects.setdefault(subscription, since)
            self._news.set()
        else:
            subscription.confirmed_at = asked_at

    def _suspect(self, subscriptions: list[Subscription]) -> None:
        now = asyncio.get_running_loop().time()
        for subscription in subscriptions:
            self._suspects[subscription] = now
            self._news.set()

    def _tell(self, socket: Socket, chat_id: str | None) -> None:
        most = min(LONGEST_SPREAD_MS, max(SPREAD_MS, len(self._sockets) * SPREAD_PER_SOCKET_MS))
        self._fanout.emit(socket, "resync", {"chatId": chat_id, "inMs": self._spread(most)})
        RESYNCS.inc()
