"""The bus: what the services publish to and consume from, whichever way it travels.

`rabbit.py` is the bus between processes, `local.py` the one within a process; one set of contract tests
holds both to what is written here.
"""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from shared.events import Event


class BusUnavailableError(Exception):
    """The bus cannot be reached or did not confirm in time; what was published may have arrived or not."""


class PoisonedEventError(Exception):
    """This event can never be handled; it goes to the dead letters with this reason."""


class WorkQueue(StrEnum):
    """The durable queues. Competing consumers share each of them."""

    ASSISTANT_REQUESTS = "assistant.requests"
    """`reply.requested`, for the workers."""
    API_REPLIES = "api.replies"
    """`reply.finished` and `reply.failed`, and every `reply.requested` that became a dead letter."""


@dataclass(frozen=True, slots=True)
class Routed:
    """An event and the gateways that it is for.

    Attributes:
        gateways: instance names; empty for none; None for every one (who holds the room is not known).
    """

    event: Event
    gateways: frozenset[str] | None


@dataclass(frozen=True, slots=True)
class Job:
    """An event from a work queue.

    Attributes:
        attempt: 1 for the first delivery, one more with each redelivery.
        last: no redelivery will follow: a failure now makes it a dead letter.
        dead: it was given up by its consumers and is here so that somebody can be told.
    """

    event: Event
    attempt: int = 1
    last: bool = False
    dead: bool = False


JobHandler = Callable[[Job], Awaitable[None]]
"""Returns: the job is done and acknowledged. Raises `PoisonedEventError` or `UndecodableEventError`: dead
letter, with the reason. Raises anything else: delivered again after a pause, a bounded number of times, then
dead letter."""


class Listener(Protocol):
    """Who takes what the bus has for one gateway, or for one follower.

    Called on the event loop, never concurrently, never awaited.
    """

    def relay(self, events: Sequence[Event]) -> None:
        """Takes events in the order in which they were published by each publisher.

        One that is published again, by its id, comes once; after a long time it may be repeated.
        """

    def linked(self, *, gap: bool) -> None:
        """The listener's queue is being consumed (again); `gap`: events may have been lost meanwhile."""

    def unlinked(self) -> None:
        """The link to the bus is lost; it is being restored."""


class Bus(Protocol):
    """Delivery between services: at least once for durable events, in order per publisher."""

    def publish(self, batch: Sequence[Routed]) -> Awaitable[None]:
        """Hands over events, in order; awaited, it is over when the bus has taken responsibility for all.

        Where the bus is there, they are on their way when this returns, whoever awaits what it gives back.
        An event of a type that a work queue takes, or that is followed, goes there too. What one batch holds
        for one gateway travels together.

        Raises:
            BusUnavailableError: not confirmed within the bound; publish the whole batch again.
        """

    async def consume_gateway(self, instance: str, listener: Listener) -> None:
        """Feeds `listener` with what is routed to `instance`, reconnecting for ever, until cancelled."""

    async def follow(self, name: str, listener: Listener) -> None:
        """Feeds `listener` with every event of the types that are `FOLLOWED`, like a gateway.

        Each follower, of a name of its own, gets all of them, but none from before it was first linked.
        """

    async def consume(self, queue: WorkQueue, handle: JobHandler, *, concurrency: int) -> None:
        """Hands jobs to `handle`, at most `concurrency` at once, reconnecting for ever, until cancelled.

        When cancelled, it takes no more jobs and waits for those being handled (the caller bounds the wait
        by cancelling again); what was not settled is delivered to another consumer.
        """

    def require_consuming(self, queue: WorkQueue) -> None:
        """Returns when this process's `consume` of `queue` has a link at this moment.

        Raises:
            BusUnavailableError: it has none, or none yet.
        """

    async def count_waiting(self, queue: WorkQueue) -> int:
        """How many jobs of a queue no consumer has taken yet.

        Raises:
            BusUnavailableError: not known now.
        """
        ...

    async def count_dead_letters(self) -> int:
        """How many dead letters wait for an operator.

        Raises:
            BusUnavailableError: not known now.
        """
        ...

    async def ping(self) -> None:
        """Returns when the bus answers.

        Raises:
            BusUnavailableError: it does not.
        """
