"""Handles a request for a reply: writes it, publishes it, and settles its outcome."""

from time import perf_counter
from typing import Final, assert_never

import structlog
from prometheus_client import Counter, Gauge, Histogram

from ai_worker.replies.broadcast import Drafts, Publisher, ReplyBroadcast
from ai_worker.replies.cancellation import Cancellations
from ai_worker.replies.chunks import WINDOW, Chunk, Cut, Piece, coalesced
from ai_worker.responder import Facts, Responder, ResponderError, Restarted, ToolCalling, ToolCompleted
from shared.bus import Job, PoisonedEventError
from shared.events import ReplyRequested, command_of
from shared.store.chunk_write import ReplyGoneError
from shared.telemetry.correlation import request_context

INTERNAL: Final = "internal"
"""The code of a failure that nobody foresaw."""
EMPTY: Final = "empty_reply"
"""The code of a reply without a word."""

REPLIES = Counter("roomcast_worker_replies", "Attempts at a reply, by how they ended.", ["outcome"])
IN_PROGRESS = Gauge("roomcast_worker_replies_in_progress", "Replies being written.")
FIRST_CHUNK = Histogram(
    "roomcast_worker_first_chunk_seconds", "From the request's arrival to the first chunk."
)
DURATION = Histogram(
    "roomcast_worker_reply_seconds",
    "From the request's arrival to the confirmed outcome.",
    buckets=(0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 40, 80, 160),
)

log = structlog.get_logger()


class Worker:
    """A writer of replies; `handle` is the handler of a work queue."""

    def __init__(
        self,
        *,
        responder: Responder,
        publisher: Publisher,
        drafts: Drafts,
        cancellations: Cancellations,
        window: float = WINDOW,
    ) -> None:
        self._responder = responder
        self._publisher = publisher
        self._drafts = drafts
        self._cancellations = cancellations
        self._window = window

    async def handle(self, job: Job) -> None:
        """Writes one reply; returns when the bus has confirmed its outcome.

        A failure that another attempt may mend is raised; on the last attempt it is published instead.

        Raises:
            PoisonedEventError: the event asks for something else.
            UndecodableEventError: the event cannot be read.
        """
        request = command_of(job.event)
        if not isinstance(request, ReplyRequested):
            raise PoisonedEventError(f"a worker cannot handle {job.event.type}")
        with (
            request_context(job.event.request_id, job.event.traceparent),
            IN_PROGRESS.track_inprogress(),
            self._cancellations.watched(request.reply_id) as cut,
        ):
            broadcast = ReplyBroadcast(
                request, job.event, publisher=self._publisher, drafts=self._drafts, cut=cut
            )
            await self._attempt(job, request, broadcast, cut)

    async def _attempt(self, job: Job, request: ReplyRequested, broadcast: ReplyBroadcast, cut: Cut) -> None:
        started, outcome = perf_counter(), "abandoned"
        try:
            if await self._write(job, request, broadcast, cut):
                await broadcast.finished()
                outcome = "cancelled" if cut.is_set() else "finished"
            else:
                outcome = "not_wanted"  # the API, which knows that, ends it by what is in the draft
        except ReplyGoneError:
            outcome = "not_wanted"
        except ResponderError as error:
            await broadcast.failed(error.code, error.metadata)
            outcome = "failed"
        except Exception:
            log.exception(
                "reply.attempt_failed", reply_id=request.reply_id, attempt=job.attempt, last=job.last
            )
            if not job.last:
                outcome = "retried"
                raise
            await broadcast.failed(INTERNAL)
            outcome = "failed"
        finally:
            seconds = perf_counter() - started
            REPLIES.labels(outcome).inc()
            DURATION.observe(seconds)
            log.info("reply.attempted", reply_id=request.reply_id, outcome=outcome, seconds=round(seconds, 3))

    async def _write(self, job: Job, request: ReplyRequested, broadcast: ReplyBroadcast, cut: Cut) -> bool:
        """Writes the reply to its end, or until it is cut; False when it was cut before it began."""
        started = perf_counter()
        if cut.is_set() or not await broadcast.started(job.attempt):
            return False
        async with coalesced(self._responder.respond(request), window=self._window, cut=cut) as pieces:
            async for piece in pieces:
                await _publish(piece, broadcast)
                if isinstance(piece, Chunk) and piece.index == 0:
                    FIRST_CHUNK.observe(perf_counter() - started)
        return True


async def _publish(piece: Piece, broadcast: ReplyBroadcast) -> None:
    match piece:
        case Chunk():
            if piece.is_final and not broadcast.content + piece.content:
                raise ResponderError(EMPTY)
            await broadcast.chunk(piece)
        case ToolCalling(tool, description):
            await broadcast.status("tool_calling", tool=tool, description=description)
        case ToolCompleted(tool, description):
            await broadcast.status("tool_completed", tool=tool, description=description)
        case Restarted():
            await broadcast.started()
        case Facts(metadata):
            broadcast.set_metadata(metadata)
        case _:
            assert_never(piece)
