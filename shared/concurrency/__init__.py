"""Waiting, retrying and ending tasks, in ways that hold on every supported Python.

`backoff` gives the pauses between attempts, `waiting` waits for an event no longer than a bound, `background`
runs work beside a block and ends it with the block, `cancellation` tells whose cancellation an error is.

Python 3.11's `asyncio.wait_for` may swallow a cancellation that comes together with what it waits for, and
the clients of Redis and RabbitMQ use it. So nothing here waits by it, and a task is cancelled until it ends.
This room imports nothing of ours.
"""
