"""Tasks that run beside a block and end with it."""

import asyncio
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from typing import Final

GRACE_SECONDS: Final = 10.0


@asynccontextmanager
async def background(
    tasks: asyncio.TaskGroup, *work: Awaitable[None], grace: float = GRACE_SECONDS
) -> AsyncIterator[None]:
    """Runs `work` in `tasks` while the block runs, and ends it with the block, however that ends.

    What was cancelled has `grace` seconds to finish. Then it is cancelled again: it may have lost the first
    cancellation.
    """
    running = [tasks.create_task(_run(each)) for each in work]
    try:
        yield
    finally:
        await _cancel_until_done(running, grace)


async def _cancel_until_done(tasks: list[asyncio.Task[None]], grace: float) -> None:
    while left := [task for task in tasks if not task.done()]:
        for task in left:
            task.cancel()
        await asyncio.wait(left, timeout=grace)


async def _run(work: Awaitable[None]) -> None:
    await work
