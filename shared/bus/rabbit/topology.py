"""Exchanges, queues and bindings on the broker: all names and arguments, declared idempotently."""

from dataclasses import dataclass, field
from typing import Final

from aiormq.abc import AbstractChannel, ArgumentsType
from aiormq.exceptions import ChannelPreconditionFailed

from shared.bus import BusUnavailableError, WorkQueue
from shared.bus.ack_policy import ATTEMPTS
from shared.bus.queues import DEAD_TYPES_OF, FOLLOWED, TYPES_OF
from shared.config.start_errors import StartError

EVENTS: Final = "roomcast.events"
DEAD: Final = "roomcast.dead"
DEAD_LETTERS: Final = "roomcast.dead-letters"
ALL_GATEWAYS: Final = "gateway.all"

LISTENER_QUEUE_EXPIRY: Final = 60.0
"""Seconds for which the queue of a gateway, or follower, that has lost its link goes on collecting events."""


class TopologyMismatchError(BusUnavailableError, StartError):
    """The broker has an exchange or queue of ours with other arguments; an operator has to delete it."""


@dataclass(frozen=True, slots=True)
class Queue:
    """A queue, its arguments, and its bindings as (exchange, routing key)."""

    name: str
    bindings: tuple[tuple[str, str], ...]
    durable: bool = True
    arguments: ArgumentsType = field(default_factory=dict)


_EXPIRES: Final[ArgumentsType] = {"x-expires": int(LISTENER_QUEUE_EXPIRY * 1000)}


def gateway_key(instance: str) -> str:
    """Returns the routing key of one gateway, which is its queue's name too."""
    return f"gateway.{instance}"


def gateway_queue(instance: str) -> Queue:
    """Returns a gateway's queue.

    Not durable: what a restart of the broker takes with it shows as a missing queue, hence as a gap, and no
    publisher waits for a disk on its account.
    """
    return Queue(
        gateway_key(instance),
        bindings=((EVENTS, gateway_key(instance)), (EVENTS, ALL_GATEWAYS)),
        durable=False,
        arguments=_EXPIRES,
    )


def follower_queue(name: str) -> Queue:
    """Returns a follower's queue, of the same kind as a gateway's."""
    return Queue(
        f"follower.{name}",
        bindings=tuple((EVENTS, type_) for type_ in sorted(FOLLOWED)),
        durable=False,
        arguments=_EXPIRES,
    )


def _work_queue(queue: WorkQueue) -> Queue:
    arguments: ArgumentsType = {
        "x-queue-type": "quorum",
        "x-dead-letter-exchange": DEAD,
        # The broker counts deliveries from 0; it gives up where our own count does, should consumers die.
        "x-delivery-limit": ATTEMPTS - 1,
    }
    if DEAD_TYPES_OF[queue]:
        # A dead letter that kills its reader must not come back to it under its own type.
        arguments["x-dead-letter-routing-key"] = queue.value
    live = tuple((EVENTS, type_) for type_ in TYPES_OF[queue])
    dead = tuple((DEAD, type_) for type_ in DEAD_TYPES_OF[queue])
    return Queue(queue.value, bindings=live + dead, arguments=arguments)


# Classic, whatever the broker's default is: reading a quorum queue without taking counts as a delivery, of
# which RabbitMQ 4 allows a bounded number, and puts what was read behind the rest.
DEAD_LETTERS_QUEUE: Final = Queue(
    DEAD_LETTERS, bindings=((DEAD, "#"),), arguments={"x-queue-type": "classic"}
)
QUEUES: Final = (
    DEAD_LETTERS_QUEUE,
    *(_work_queue(queue) for queue in WorkQueue),
)


async def declare(channel: AbstractChannel) -> None:
    """Declares all but the queues of gateways and followers.

    Raises:
        TopologyMismatchError: the broker has one of them with other arguments.
    """
    for exchange in (EVENTS, DEAD):
        try:
            await channel.exchange_declare(exchange, exchange_type="topic", durable=True)
        except ChannelPreconditionFailed as refusal:
            raise _mismatch("exchange", exchange, refusal) from refusal
    for queue in QUEUES:
        await declare_queue(channel, queue)


async def declare_queue(channel: AbstractChannel, queue: Queue) -> None:
    """Declares `queue` with its bindings.

    Raises:
        TopologyMismatchError: the broker has it with other arguments.
    """
    try:
        await channel.queue_declare(queue.name, durable=queue.durable, arguments=dict(queue.arguments))
    except ChannelPreconditionFailed as refusal:
        raise _mismatch("queue", queue.name, refusal) from refusal
    for exchange, key in queue.bindings:
        await channel.queue_bind(queue.name, exchange, routing_key=key)


def _mismatch(kind: str, name: str, refusal: Exception) -> TopologyMismatchError:
    return TopologyMismatchError(
        f"the broker has the {kind} {name!r} with other arguments than Roomcast declares ({refusal}); "
        f"let what is in it be worked off, delete it there, and it is declared anew"
    )
