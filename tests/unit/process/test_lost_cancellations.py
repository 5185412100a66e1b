"""An order to stop that was lost on its way: what runs for as long as its service ends all the same.

Python 3.11's `asyncio.wait_for`, which the clients of Redis and RabbitMQ use, swallows a cancellation that
comes together with what it waits for. So does `Swallowing`, always.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Final, cast

import pytest

from ai_worker.gauges import refresh_gauges
from ai_worker.replies import cancellation as cancelling_workers
from ai_worker.replies.cancellation import Cancellations
from chat_api.accounts.revocation_set import EndedSessionsKeeper
from chat_api.outbox.lag import Backlog
from shared.store.draft_layout import Standing


class Swallowing:
    """Stands for a server that is asked: the answer comes when nobody wants it any more."""

    def __init__(self) -> None:
        self.asked = asyncio.Event()

    async def answer(self, *_: Any, **__: Any) -> Any:
        self.asked.set()
        try:
            await asyncio.get_running_loop().create_future()
        except asyncio.CancelledError:
            raise OSError from None

    async def answer_none(self, *_: Any, **__: Any) -> int:
        try:
            await self.answer()
        except OSError:
            return 0
        raise AssertionError

    count_waiting = count_dead_letters = answer_none
    connect = answer

    async def standing(self, *_: Any) -> dict[str, Any]:
        return {str(await self.answer_none()): Standing(1)}


async def _looks(server: Swallowing) -> None:
    await refresh_gauges(server, None, ())


async def _cancellations(server: Swallowing) -> None:
    cancellations = Cancellations(cast("Any", server))
    with cancellations.watched("reply"):
        await cancellations.run()


async def _backlog(server: Swallowing) -> None:
    async def away() -> Any:
        raise OSError

    await Backlog(away, server).run()


async def _sessions(server: Swallowing) -> None:
    await EndedSessionsKeeper(cast("Any", server), server.connect, access_seconds=1).run()


LOOPS: Final[dict[str, Callable[[Swallowing], Awaitable[None]]]] = {
    "the worker's looks": _looks,
    "the worker's cancellations": _cancellations,
    "the API's backlog": _backlog,
    "the API's ended sessions": _sessions,
}


@pytest.mark.parametrize("loop", LOOPS.values(), ids=LOOPS)
async def test_it_ends_though_its_cancellation_is_lost(
    monkeypatch: pytest.MonkeyPatch, loop: Callable[[Swallowing], Awaitable[None]]
) -> None:
    """Else a service that was told to stop never would."""
    monkeypatch.setattr(cancelling_workers, "LOOK_SECONDS", 0.0)
    server = Swallowing()
    running = asyncio.ensure_future(loop(server))
    await server.asked.wait()
    running.cancel()
    done, _ = await asyncio.wait({running}, timeout=10.0)
    assert done
