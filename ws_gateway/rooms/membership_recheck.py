"""Looks at memberships again that may be outdated: asks the API about sockets that have not joined again.

A lost `member.removed` would leave a former member in the room.
"""

import asyncio
from collections.abc import Iterator
from typing import Final

import structlog

from ws_gateway.errors import GatewayError, NotFoundError
from ws_gateway.rooms.chat_state import ChatAccess
from ws_gateway.rooms.membership import Membership
from ws_gateway.rooms.subscriptions import Subscription

log = structlog.get_logger()

RECHECK_SECONDS: Final = 15.0
RECHECKS_AT_ONCE: Final = 8


class Suspects:
    """Subscriptions whose membership may be outdated, each with the loop's time from which on it may be.

    Attributes:
        any: there are some.
    """

    def __init__(self) -> None:
        self._since: dict[Subscription, float] = {}
        self.any = asyncio.Event()

    def add(self, subscriptions: list[Subscription]) -> None:
        """Suspects subscriptions from now on."""
        now = asyncio.get_running_loop().time()
        for subscription in subscriptions:
            self._since[subscription] = now
            self.any.set()

    def put_back(self, subscription: Subscription, since: float) -> None:
        """Suspects a subscription still, unless it has been suspected anew."""
        self._since.setdefault(subscription, since)
        self.any.set()

    def pop_all(self) -> dict[Subscription, float]:
        """Returns all, which are suspects no longer."""
        self.any.clear()
        popped, self._since = self._since, {}
        return popped


class MembershipRecheck:
    """Takes sockets out of chats whose members their users no longer are."""

    def __init__(
        self,
        *,
        suspects: Suspects,
        membership: Membership,
        access: ChatAccess,
        recheck_seconds: float = RECHECK_SECONDS,
    ) -> None:
        self._suspects = suspects
        self._membership = membership
        self._access = access
        self._recheck_seconds = recheck_seconds

    async def run(self) -> None:
        """Looks at suspects a while after they became such, for ever."""
        while True:
            await self._suspects.any.wait()
            await asyncio.sleep(self._recheck_seconds)
            todo = iter(self._suspects.pop_all().items())
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
                subscription.chat_id,
                None,
                user_id=subscription.socket.user_id,
                token=subscription.socket.token,
            )
        except NotFoundError:
            self._membership.leave(subscription)
            log.info("resync.put_out", room=subscription.room, sid=subscription.socket.sid)
        except GatewayError:
            self._suspects.put_back(subscription, since)
        else:
            subscription.confirmed_at = asked_at
