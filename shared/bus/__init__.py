"""Bus: what the services publish to and consume from, whichever way it travels.

The port is here; `local` is the bus within a process, the room `rabbit` the one between processes. One set of
contract tests holds both to what is written on each method of `Bus`.

Three ways an event goes, by its type (`queues`) and by who holds its rooms:

- to gateways, each of which relays what it is sent to its sockets (`consume_gateway`);
- to one of the consumers of a work queue, as a `Job` (`consume`); `ack_policy` decides on its outcome:
  acknowledged, tried again after a pause, or, after five tries or one that cannot help, a dead letter;
- to every follower, where it is of a type that is followed (`follow`).

What must stay true:

- At least once: a job is acknowledged when its handler has returned, and what was published and not confirmed
  is published again by its publisher. So consumers know events by their ids; `deduplication` passes over
  those that a gateway had lately.
- In order, for each publisher and listener.
- A listener is told when it may have missed something (`linked(gap=True)`), never left to guess.
- Events are on their way when `publish` returns; awaited, it is over when the bus has taken them over.

The bus does not know who holds a room, see `shared/interest`; and it is not the record of events, which is
the API's event store. A program that binds a queue of its own to a type gets every event that happens to
travel alone, which under load is not every event, and may get one twice, by its id.

The bus within a process forgets with its process. `roomcast up` therefore asks again, at its start, for
replies that were being written when it ended.
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
    """The consumer of all that the bus has for one gateway, or for one follower.

    Called on the event loop, never concurrently, never awaited.
    """

    def relay(self, events: Sequence[Event]) -> None:
        """Takes events in the order in which they were published by each publisher.

        One that is published again, by its id, comes once; after a long time it may be repeated.
        """

    def linked(self, *, gap: bool) -> None:
        """Called when its queue is consumed (again); `gap`: events may have been lost meanwhile."""

    def unlinked(self) -> None:
        """Called when the link to the bus is lost; the bus restores it."""


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
        """Returns the number of jobs of a queue that no consumer has taken yet.

        Raises:
            BusUnavailableError: not known now.
        """
        ...

    async def count_dead_letters(self) -> int:
        """Returns the number of dead letters that wait for an operator.

        Raises:
            BusUnavailableError: not known now.
        """
        ...

    async def ping(self) -> None:
        """Returns when the bus answers.

        Raises:
            BusUnavailableError: it does not.
        """
