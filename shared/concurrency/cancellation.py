"""Telling whose cancellation a `CancelledError` is."""

import asyncio


def is_cancelling() -> bool:
    """Returns whether the current task is being cancelled.

    If not, a `CancelledError` is no order to stop: aiormq raises it for a link that is closed, and anything
    awaited may let one out. And an order to stop may show in this only: Python 3.11's `asyncio.wait_for`,
    which the clients of Redis and RabbitMQ use, swallows one that comes together with what it waits for.
    """
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


def raise_if_cancelled() -> None:
    """Ends the current task if it is being cancelled, though what was awaited swallowed the order.

    Raises:
        CancelledError: it is.
    """
    if is_cancelling():
        raise asyncio.CancelledError
