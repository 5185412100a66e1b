"""Waiting with a bound."""

import asyncio


async def wait_for_event(event: asyncio.Event, *, seconds: float) -> bool:
    """Waits until `event` is set, but no longer than `seconds`; returns whether it is set."""
    try:
        async with asyncio.timeout(seconds):
            return await event.wait()
    except TimeoutError:
        return event.is_set()
