"""Relays events from the bus to rooms: a table of what is done with each kind of event."""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from itertools import groupby
from typing import Final, Protocol

import orjson
import prometheus_client
import structlog

from shared import events
from shared.events import Event, MemberRemoved, SessionEnded, UndecodableEventError, command_of, user_room
from ws_gateway.metrics import EVENTS, EVENTS_IGNORED
from ws_gateway.rooms.fanout import Fanout
from ws_gateway.rooms.membership import Membership
from ws_gateway.transport.frames import Frame, event_frame
from ws_gateway.transport.turn_writes import HIGH_WATER

log = structlog.get_logger()

DROPPABLE: Final = frozenset({events.TYPING, events.PRESENCE})
"""Events without which a client that is slow to read may go."""
_BATCHED: Final = frozenset(
    {
        events.MESSAGE_CREATED,
        events.MESSAGE_UPDATED,
        events.MESSAGE_DELETED,
        events.REPLY_STATUS,
        events.REPLY_CHUNK,
    }
)
"""Events that come in numbers, and from which nothing follows but that they are sent."""


class Sessions(Protocol):
    """The sessions of this gateway's sockets."""

    def end(self, session_id: str) -> None:
        """Drops the session's sockets at once and lets no new one in."""


class Relay:
    """The gateway's `Listener`.

    Attributes:
        linked_now: whether events can arrive.
    """

    def __init__(
        self,
        *,
        instance: str,
        fanout: Fanout,
        membership: Membership,
        sessions: Sessions,
        missed: Callable[[], None],
    ) -> None:
        self._typing_prefix = f"{instance}/"
        self._fanout = fanout
        self._membership = membership
        self._sessions = sessions
        self._on_missed = missed
        self.linked_now = False
        self._linked_before = False

    def relay(self, batch: Sequence[Event]) -> None:
        """Relays events in order; one that cannot be decoded is logged and skipped."""
        if len(batch) == 1:
            _received_counter(batch[0].type).inc()
            self._relay_one(batch[0])
            return
        for kind, count in Counter(event.type for event in batch).items():
            _received_counter(kind).inc(count)
        for _, alike in groupby(batch, _batch_key):
            run = list(alike)
            if len(run) > 1:
                self._relay_run(run)
            else:
                self._relay_one(run[0])

    def linked(self, *, gap: bool) -> None:
        """Marks the bus as there; after a gap, and at the first link, sockets may have missed something."""
        self.linked_now = True
        if gap or not self._linked_before:
            self._on_missed()
        self._linked_before = True
        log.info("relay.linked", gap=gap)

    def unlinked(self) -> None:
        """Marks the bus as away."""
        self.linked_now = False
        log.warning("relay.unlinked")

    def _relay_one(self, event: Event) -> None:
        try:
            self._relay(event)
        except (UndecodableEventError, UnicodeDecodeError) as error:
            _log_undecodable(event, error)

    def _relay_run(self, run: Sequence[Event]) -> None:
        """Sends events of the same rooms in one go; what else follows from them comes after the last."""
        framed: list[tuple[Event, Frame]] = []
        for event in run:
            try:
                framed.append((event, event_frame(event.name, event.body)))
            except UnicodeDecodeError as error:
                _log_undecodable(event, error)
        for piece in _pieces(framed):
            reached = self._fanout.broadcast_burst(
                run[0].rooms, [(event.seq, frame) for event, frame in piece]
            )
            for event, _ in piece:
                self._record(event, reached + self._activity(event))

    def _relay(self, event: Event) -> None:
        match event.type:
            case events.SESSION_ENDED:
                ended = command_of(event)
                if isinstance(ended, SessionEnded):
                    self._sessions.end(ended.session_id)
            case events.MESSAGE_CREATED:
                reached = self._to_rooms(event) + self._activity(event)
                self._record(event, reached)
            case events.MEMBER_REMOVED:
                self._record(event, self._to_rooms(event))
                removed = command_of(event)
                if isinstance(removed, MemberRemoved):
                    self._membership.evict(removed.chat_id, removed.user_id)
            case events.CHAT_DELETED:
                self._record(event, self._to_rooms(event))
                self._membership.evict(event.subject)
            case _:
                self._record(event, self._to_rooms(event))

    def _to_rooms(self, event: Event) -> int:
        """Sends the event to the sockets in its rooms; returns how many they are."""
        if not event.name or not event.rooms:
            return 0
        typist = event.subject.removeprefix(self._typing_prefix) if event.type == events.TYPING else None
        frame = event_frame(event.name, event.body, droppable=event.type in DROPPABLE)
        return self._fanout.broadcast(event.rooms, frame, seq=event.seq, skip=typist)

    def _activity(self, event: Event) -> int:
        """Sends `chat-activity` of a new message to each member's own room; returns to how many sockets."""
        if event.type != events.MESSAGE_CREATED or not event.users:
            return 0
        chat_id = orjson.dumps(event.subject)
        body = b'{"chatId":%b,"lastSeq":%d,"lastMessage":%b}' % (chat_id, event.seq or 0, event.body)
        rooms = tuple({user_room(user_id) for user_id in event.users})
        return self._fanout.broadcast(rooms, event_frame("chat-activity", body))

    def _record(self, event: Event, reached: int) -> None:
        if not reached:
            EVENTS_IGNORED.labels(event.type).inc()
        elif not event.ephemeral:
            log.info(
                "relay.delivered", type=event.type, id=event.id, sockets=reached, request_id=event.request_id
            )


@cache
def _received_counter(kind: str) -> prometheus_client.Counter:
    """Returns the counter of the events of a type."""
    return EVENTS.labels(kind)


def _batch_key(event: Event) -> object:
    """Returns the same for events that may go together: they only go to their rooms, which are the same."""
    return event.rooms if event.type in _BATCHED and event.name and event.rooms else event.id


def _pieces(framed: Sequence[tuple[Event, Frame]]) -> Iterator[Sequence[tuple[Event, Frame]]]:
    """Yields the same in pieces that are written at once."""
    piece: list[tuple[Event, Frame]] = []
    size = 0
    for event, frame in framed:
        piece.append((event, frame))
        size += len(frame.wire)
        if size >= HIGH_WATER:
            yield piece
            piece, size = [], 0
    if piece:
        yield piece


def _log_undecodable(event: Event, error: Exception) -> None:
    log.warning("relay.undecodable", type=event.type, id=event.id, error=str(error))
