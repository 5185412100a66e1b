"""The dead letters on the broker, for operators: looked at, published again, dropped.

Letters are read by taking them without acknowledging; closing the channel puts all that were not acknowledged
back where they were (the queue is a classic one, see `topology.py`). While somebody looks, nobody else sees
those letters; nothing else reads that queue.
"""

import asyncio
import hashlib
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import aiormq
from aiormq.abc import AbstractChannel, AbstractConnection, DeliveredMessage
from aiormq.exceptions import PublishError

from shared.bus import BusUnavailableError
from shared.bus.queues import QUEUE_OF
from shared.bus.rabbit.cloudevents import CLOUD_EVENTS_PREFIXES, JSON, decode_one
from shared.bus.rabbit.link import LINK_ERRORS, connection
from shared.bus.rabbit.sender import CONFIRM_BOUND_SECONDS
from shared.bus.rabbit.topology import DEAD_LETTERS, EVENTS, declare
from shared.concurrency.cancellation import is_cancelling
from shared.events import Event, UndecodableEventError
from shared.ids import rfc3339

_PERSISTENT: Final = 2


class NotReplayableError(Exception):
    """Publishing this letter would bring it to no queue; it stays where it is."""


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A message that its consumers gave up.

    Attributes:
        id: the event's id; for what is no event, `sha256:` and the beginning of its body's digest.
        type: the event's type; "" where none is named.
        queue: the work queue that it was in; "" when not known.
        reason: why it was given up.
        buried: when, as RFC 3339; "" when not known.
        event: what it holds, or None when that cannot be decoded.
        body: as it came.
    """

    id: str
    type: str
    queue: str
    reason: str
    buried: str
    event: Event | None
    body: bytes


class Taken:
    """A letter held until the letters are closed; then it goes back to its place, if not settled."""

    def __init__(
        self, message: DeliveredMessage, *, reading: AbstractChannel, publishing: AbstractChannel
    ) -> None:
        self.letter = letter_of(message)
        self._message = message
        self._reading = reading
        self._publishing = publishing

    async def replay(self) -> None:
        """Publishes it under its type; takes it off once the broker has confirmed that it is in a queue.

        The event keeps its id, so that whoever has handled it passes over it. When this is cut in between,
        the letter stays, and the event is in its queue too.

        Raises:
            NotReplayableError: no queue takes this type.
        """
        type_ = self.letter.type
        if self.letter.event is None or type_ not in QUEUE_OF:
            raise NotReplayableError(f"no work queue takes {type_!r}" if type_ else "it is no event")
        properties = self._message.header.properties
        try:
            async with asyncio.timeout(CONFIRM_BOUND_SECONDS):
                await self._publishing.basic_publish(
                    self._message.body,
                    exchange=EVENTS,
                    routing_key=type_,
                    properties=aiormq.spec.Basic.Properties(
                        content_type=properties.content_type or JSON,
                        headers=_event_headers(properties.headers or {}),
                        delivery_mode=_PERSISTENT,
                    ),
                    mandatory=True,
                )
        except PublishError as error:
            raise NotReplayableError(f"the broker has no queue for {type_!r}") from error
        await self.drop()

    async def drop(self) -> None:
        """Takes it off for good."""
        await self._reading.basic_ack(self._message.delivery_tag or 0)


@asynccontextmanager
async def dead_letters(url: str) -> AsyncIterator[AsyncIterator[Taken]]:
    """Opens the letters that the broker at `url` has now, oldest first, to be taken one by one in the block.

    Raises:
        BusUnavailableError: it cannot be reached, or the link was lost: what was not settled is still there.
        TopologyMismatchError: the queue is not one that can be looked through without harm.
    """
    try:
        async with (
            connection(url, name="roomcast events dead") as made,
            _channel(made) as publishing,
            _channel(made, confirms=False) as reading,
        ):
            await declare(publishing)
            found = await reading.queue_declare(DEAD_LETTERS, passive=True)
            async with aclosing(_taken(found.message_count or 0, reading, publishing)) as letters:
                yield letters
    except BusUnavailableError:
        raise
    except LINK_ERRORS as error:
        raise BusUnavailableError(f"RabbitMQ: {error!r}") from error
    except asyncio.CancelledError:
        if is_cancelling():
            raise
        raise BusUnavailableError("the link to RabbitMQ was lost") from None


async def _taken(
    count: int, reading: AbstractChannel, publishing: AbstractChannel
) -> AsyncGenerator[Taken, None]:
    for _ in range(count):
        message = await reading.basic_get(DEAD_LETTERS)
        if message.delivery_tag is None:
            return
        yield Taken(message, reading=reading, publishing=publishing)


@asynccontextmanager
async def _channel(made: AbstractConnection, *, confirms: bool = True) -> AsyncIterator[AbstractChannel]:
    channel = await made.channel(publisher_confirms=confirms)
    try:
        yield channel
    finally:
        # Puts back what was taken and not acknowledged.
        if not channel.is_closed:
            await channel.close()


def letter_of(message: DeliveredMessage) -> DeadLetter:
    """Returns a message among the dead letters as a letter."""
    properties = message.header.properties
    headers: Mapping[str, Any] = properties.headers or {}
    try:
        event = decode_one(properties.content_type, headers, message.body)
    except UndecodableEventError:
        event = None
    death = _death(headers)
    return DeadLetter(
        id=_text(event.id if event else _attribute(headers, "id")) or _digest(message.body),
        type=_text(event.type if event else _attribute(headers, "type")),
        queue=_text(headers.get("queue", death.get("queue"))),
        reason=_text(headers.get("reason")) or _reason(death),
        buried=_text(headers.get("buried")) or _time(death.get("time")),
        event=event,
        body=message.body,
    )


def _death(headers: Mapping[str, Any]) -> Mapping[str, Any]:
    """Returns the broker's own note on a message that it gave up itself."""
    match headers.get("x-death"):
        case [dict() as latest, *_]:
            return latest
        case _:
            return {}


def _reason(death: Mapping[str, Any]) -> str:
    reason = _text(death.get("reason"))
    return "its consumers went away each time (delivery_limit)" if reason == "delivery_limit" else reason


def _attribute(headers: Mapping[str, Any], name: str) -> object:
    return next((headers[prefix + name] for prefix in CLOUD_EVENTS_PREFIXES if prefix + name in headers), "")


def _event_headers(headers: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in headers.items() if name.startswith(CLOUD_EVENTS_PREFIXES)}


def _text(value: object) -> str:
    match value:
        case None:
            return ""
        case bytes() | bytearray():
            return value.decode(errors="replace")
        case _:
            return str(value)


def _time(value: object) -> str:
    return rfc3339(value) if isinstance(value, datetime) else ""


def _digest(body: bytes) -> str:
    return f"sha256:{hashlib.sha256(body).hexdigest()[:16]}"
