"""The bus within one process."""

import asyncio
from collections import Counter, deque
from collections.abc import Awaitable, Generator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, assert_never

import structlog

from shared.bus import BusUnavailableError, Job, JobHandler, Listener, Routed, WorkQueue
from shared.bus.ack_policy import ATTEMPTS, Done, GiveUp, Retry, failure_of, pause, verdict
from shared.bus.deduplication import Recent
from shared.bus.metrics import CONSUMED, DEAD_LETTERED, FOLLOWER, GATEWAY, PUBLISHED, REDELIVERED
from shared.bus.queues import DEAD_TYPES_OF, FOLLOWED, QUEUE_OF
from shared.events import Event

log = structlog.get_logger()

_DEAD_LETTERS_KEPT: Final = 1000


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """An event that was given up, and why."""

    event: Event
    queue: WorkQueue
    reason: str


class _Delivered:
    """An awaitable that is over at once: nothing is left to wait for."""

    def __await__(self) -> Generator[Any, None, None]:
        return
        yield


_DELIVERED: Final = _Delivered()


class LocalBus:
    """Delivery between the services of one process; all that it holds ends with the process.

    Attributes:
        dead_letters: the latest events given up, oldest first.
    """

    def __init__(self) -> None:
        self.dead_letters: deque[DeadLetter] = deque(maxlen=_DEAD_LETTERS_KEPT)
        self._gateways: dict[str, tuple[Listener, Recent]] = {}
        self._followers: list[Listener] = []
        self._queues = {queue: asyncio.Queue[Job]() for queue in WorkQueue}
        self._consuming: Counter[WorkQueue] = Counter()

    def publish(self, batch: Sequence[Routed]) -> Awaitable[None]:
        """See `Bus.publish`; gateways have relayed when it returns."""
        for routed in batch:
            PUBLISHED.labels(routed.event.type).inc()
            queue = QUEUE_OF.get(routed.event.type)
            if queue is not None:
                self._queues[queue].put_nowait(Job(routed.event))
        for instance, (listener, recent) in list(self._gateways.items()):
            events = recent.fresh(
                [routed.event for routed in batch if routed.gateways is None or instance in routed.gateways]
            )
            if events:
                _relay(GATEWAY, listener, events)
        if followed := [routed.event for routed in batch if routed.event.type in FOLLOWED]:
            for listener in list(self._followers):
                _relay(FOLLOWER, listener, followed)
        return _DELIVERED

    async def consume_gateway(self, instance: str, listener: Listener) -> None:
        """See `Bus.consume_gateway`."""
        self._gateways[instance] = listener, Recent()
        try:
            listener.linked(gap=False)
            await asyncio.get_running_loop().create_future()
        finally:
            del self._gateways[instance]

    async def follow(self, name: str, listener: Listener) -> None:  # noqa: ARG002  there are no queues to name
        """See `Bus.follow`."""
        self._followers.append(listener)
        try:
            listener.linked(gap=False)
            await asyncio.get_running_loop().create_future()
        finally:
            self._followers.remove(listener)

    async def consume(self, queue: WorkQueue, handle: JobHandler, *, concurrency: int) -> None:
        """See `Bus.consume`."""
        stopping = asyncio.Event()
        slots = asyncio.Semaphore(concurrency)
        running: set[asyncio.Task[None]] = set()

        def on_done(task: asyncio.Task[None]) -> None:
            running.discard(task)
            slots.release()

        self._consuming[queue] += 1
        try:
            while True:
                await slots.acquire()
                job = await self._queues[queue].get()
                task = asyncio.create_task(self._work(queue, handle, job, stopping))
                running.add(task)
                task.add_done_callback(on_done)
        except asyncio.CancelledError:
            stopping.set()
            if running:
                await asyncio.wait(running)
            raise
        finally:
            self._consuming[queue] -= 1
            for task in running:
                task.cancel()
            await asyncio.gather(*running, return_exceptions=True)

    def require_consuming(self, queue: WorkQueue) -> None:
        """See `Bus.require_consuming`."""
        if not self._consuming[queue]:
            raise BusUnavailableError(f"the queue {queue} is not being consumed")

    async def count_waiting(self, queue: WorkQueue) -> int:
        """See `Bus.count_waiting`."""
        return self._queues[queue].qsize()

    async def count_dead_letters(self) -> int:
        """See `Bus.count_dead_letters`; of the latest only."""
        return len(self.dead_letters)

    async def ping(self) -> None:
        """Returns at once."""

    async def _work(self, queue: WorkQueue, handle: JobHandler, job: Job, stopping: asyncio.Event) -> None:
        CONSUMED.labels(queue).inc()
        if job.attempt > 1:
            REDELIVERED.labels(queue).inc()
        try:
            failure = await failure_of(handle(job))
            decision = verdict(failure, attempt=job.attempt)
            if isinstance(decision, Retry):
                await pause(decision.seconds, unless=stopping)
        except asyncio.CancelledError:
            self._requeue(queue, job)
            raise
        match decision:
            case Done():
                pass
            case Retry():
                self._requeue(queue, job)
            case GiveUp(reason):
                self._dead_letter(queue, job, reason)
            case _:
                assert_never(decision)

    def _requeue(self, queue: WorkQueue, job: Job) -> None:
        if job.last:
            self._dead_letter(queue, job, "its consumers went away")
        else:
            attempt = job.attempt + 1
            self._queues[queue].put_nowait(replace(job, attempt=attempt, last=attempt >= ATTEMPTS))

    def _dead_letter(self, queue: WorkQueue, job: Job, reason: str) -> None:
        log.error("bus.dead_letter", queue=queue, type=job.event.type, reason=reason)
        DEAD_LETTERED.labels(queue).inc()
        if job.dead:
            return
        self.dead_letters.append(DeadLetter(job.event, queue, reason))
        for told, types in DEAD_TYPES_OF.items():
            if job.event.type in types:
                self._queues[told].put_nowait(Job(job.event, dead=True))


def _relay(kind: str, listener: Listener, events: Sequence[Event]) -> None:
    CONSUMED.labels(kind).inc(len(events))
    try:
        listener.relay(events)
    except Exception:
        log.exception("bus.relay_failed", count=len(events))
