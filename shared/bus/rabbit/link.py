"""A connection to the broker, kept up for ever."""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Final, NoReturn

import aiormq
import structlog
from aiormq import TransportFactory
from aiormq.abc import AbstractChannel, AbstractConnection
from aiormq.exceptions import AMQPError
from yarl import URL

from shared.bus.metrics import LINKS_LOST
from shared.bus.rabbit.topology import TopologyMismatchError
from shared.concurrency.backoff import backoff
from shared.concurrency.cancellation import is_cancelling, raise_if_cancelled

log = structlog.get_logger()

CONNECT_SECONDS: Final = 5.0
CLOSE_SECONDS: Final = 2.0
SETUP_SECONDS: Final = 10.0
"""How long the broker may take to declare what a link needs; longer, and the link is made anew."""
LONGEST_PAUSE_SECONDS: Final = 2.0
"""Between attempts at a link, so that a broker that is back is not waited for."""
HEARTBEAT_SECONDS: Final = 5
"""A broker that is silent for three of these is taken for dead."""

LINK_ERRORS: Final = (AMQPError, OSError, TimeoutError, RuntimeError)
"""What a lost link shows as; aiormq says "closed" by RuntimeErrors."""

Linked = Callable[[], None]
Session = Callable[[AbstractConnection, Linked], Awaitable[None]]
"""Uses a fresh connection until it is lost, then raises; it calls `Linked` once all is set up."""


class LinkLostError(ConnectionError):
    """The connection or channel ended, or the broker took the consumer away."""


@asynccontextmanager
async def connection(
    url: str, *, name: str, transports: TransportFactory | None = None
) -> AsyncIterator[AbstractConnection]:
    """Opens a connection that the broker shows under `name`; made and closed within bounds.

    Raises:
        AMQPError, OSError, TimeoutError, RuntimeError: it cannot be had.
    """
    # What aiormq logs as errors are losses that are told here, once each.
    logging.getLogger("aiormq").setLevel(logging.CRITICAL)
    address = URL(url).update_query(name=name)
    if "heartbeat" not in address.query:
        address = address.update_query(heartbeat=HEARTBEAT_SECONDS)
    async with asyncio.timeout(CONNECT_SECONDS):
        made = await aiormq.connect(address, transport_factory=transports)
    try:
        yield made
    finally:
        await _closed(made)


async def _closed(made: AbstractConnection) -> None:
    try:
        async with asyncio.timeout(CLOSE_SECONDS):
            await made.close()
    except LINK_ERRORS:
        log.debug("bus.unclean_close")
    except asyncio.CancelledError:
        if is_cancelling():
            raise


async def supervised(
    url: str, *, name: str, session: Session, transports: TransportFactory | None = None
) -> NoReturn:
    """Runs `session` on a connection, again after each loss, for ever.

    Raises:
        TopologyMismatchError: the session found one; trying again would not help.
    """
    pauses = backoff(most=LONGEST_PAUSE_SECONDS)

    def linked() -> None:
        nonlocal pauses
        pauses = backoff(most=LONGEST_PAUSE_SECONDS)
        log.info("bus.linked", link=name)

    while True:
        try:
            async with connection(url, name=name, transports=transports) as made:
                await session(made, linked)
            reason = "the session ended"
        except TopologyMismatchError:
            raise
        except LINK_ERRORS as error:
            reason = repr(error)
        except asyncio.CancelledError:
            if is_cancelling():
                raise
            reason = "closed"
        raise_if_cancelled()
        LINKS_LOST.labels(name).inc()
        pause = next(pauses)
        log.warning("bus.link_lost", link=name, reason=reason, retry_in=round(pause, 3))
        await asyncio.sleep(pause)


@asynccontextmanager
async def setting_up(what: str) -> AsyncIterator[None]:
    """Bounds how long the broker may take over the block; `what` it does there is for the log.

    Raises:
        LinkLostError: it takes longer; a queue that a crash left without a leader never answers.
    """
    try:
        async with asyncio.timeout(SETUP_SECONDS):
            yield
    except TimeoutError:
        raise LinkLostError(f"no answer within {SETUP_SECONDS:.0f} s: {what}") from None


def consumer_cancellation(channel: AbstractChannel) -> "asyncio.Future[None]":
    """Returns a future that fails once the broker cancels a consumer of `channel`.

    It has to be called before there is a consumer.
    """
    gone: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def on_cancel(_frame: object) -> None:
        if not gone.done():
            gone.set_exception(LinkLostError("the queue is gone"))

    channel.on_consumer_cancel_callbacks.add(on_cancel)
    return gone


async def wait_until_lost(
    made: AbstractConnection, channel: AbstractChannel, *others: "asyncio.Future[None]"
) -> NoReturn:
    """Waits until `channel` is of no use any more, or one of `others` is done.

    Raises:
        LinkLostError: now it is; the text says why.
    """
    ends: set[asyncio.Future[None]] = {made.closing, channel.closing, *others}
    try:
        done, _ = await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for end in ends:
            end.cancel()
    raise LinkLostError("; ".join(sorted({_reason(end) for end in done})))


def _reason(end: "asyncio.Future[None]") -> str:
    return "closed" if end.cancelled() else repr(end.exception() or "closed")
