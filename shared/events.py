"""Every event that travels between the services.

An `Event` is a CloudEvents 1.0 event: attributes beside a body. The body of an event that is meant for
sockets is exactly the JSON that clients get, so that whoever relays it never parses it. The bodies of the
events that programs act on are the models of the tagged union `Command`.
"""

from dataclasses import dataclass, field
from typing import Annotated, Any, Final, Literal

import orjson
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter
from pydantic.alias_generators import to_camel

from shared.ids import new_id, now, rfc3339

SPEC_VERSION: Final = "1.0"

MESSAGE_CREATED: Final = "message.created"
MESSAGE_UPDATED: Final = "message.updated"
MESSAGE_DELETED: Final = "message.deleted"
CHAT_CREATED: Final = "chat.created"
CHAT_UPDATED: Final = "chat.updated"
CHAT_DELETED: Final = "chat.deleted"
MEMBER_ADDED: Final = "member.added"
MEMBER_REMOVED: Final = "member.removed"
CHAT_READ: Final = "chat.read"
SESSION_ENDED: Final = "session.ended"
TYPING: Final = "typing"
PRESENCE: Final = "presence"
REPLY_STATUS: Final = "reply.status"
REPLY_CHUNK: Final = "reply.chunk"
REPLY_REQUESTED: Final = "reply.requested"
REPLY_FINISHED: Final = "reply.finished"
REPLY_FAILED: Final = "reply.failed"
REPLY_CANCEL_REQUESTED: Final = "reply.cancel_requested"

EPHEMERAL: Final = frozenset({TYPING, PRESENCE, REPLY_STATUS, REPLY_CHUNK})
"""Types whose loss does no lasting harm: they are neither persistent nor stored."""


def chat_room(chat_id: str) -> str:
    """Returns the room of a chat's joined sockets."""
    return f"chat:{chat_id}"


def user_room(user_id: str) -> str:
    """Returns the room of all sockets of a user."""
    return f"user:{user_id}"


def numbered(attempt: int) -> dict[str, int]:
    """Returns `attempt` as bodies about a reply carry it: from the second on."""
    return {"attempt": attempt} if attempt > 1 else {}


@dataclass(frozen=True, slots=True)
class Event:
    """One event on the bus.

    Attributes:
        type: one of the constants above; also the routing key.
        body: JSON bytes; for an event with a `name`, exactly what clients get.
        source: which service speaks, `/roomcast/<service>`.
        subject: what it is about: a chat, session or reply id.
        name: the Socket.IO event name, or "" when sockets do not get it.
        rooms: the rooms it goes to; a socket in several of them gets it once.
        seq: a message's number in its chat, else None.
        users: members (user ids) who get `chat-activity` from a `message.created`.
        everywhere: for every gateway, whatever rooms it holds.
        request_id, traceparent: what ties it to the request that caused it ("" when unknown).
    """

    type: str
    body: bytes
    source: str = "/roomcast"
    subject: str = ""
    name: str = ""
    rooms: tuple[str, ...] = ()
    seq: int | None = None
    users: tuple[str, ...] = ()
    everywhere: bool = False
    request_id: str = ""
    traceparent: str = ""
    id: str = field(default_factory=new_id)
    time: str = field(default_factory=lambda: rfc3339(now()))

    @property
    def ephemeral(self) -> bool:
        """True where its loss does no lasting harm."""
        return self.type in EPHEMERAL

    def attributes(self) -> dict[str, Any]:
        """Returns the CloudEvents attributes and extensions that are set; all but the body."""
        attributes: dict[str, Any] = {
            "specversion": SPEC_VERSION,
            "id": self.id,
            "source": self.source,
            "type": self.type,
            "time": self.time,
        }
        if self.subject:
            attributes["subject"] = self.subject
        if self.name:
            attributes["name"] = self.name
        if self.rooms:
            attributes["rooms"] = list(self.rooms)
        if self.seq is not None:
            attributes["seq"] = self.seq
        if self.users:
            attributes["users"] = list(self.users)
        if self.everywhere:
            attributes["everywhere"] = True
        if self.request_id:
            attributes["requestid"] = self.request_id
        if self.traceparent:
            attributes["traceparent"] = self.traceparent
        return attributes


class UndecodableEventError(ValueError):
    """This is not an event that this program understands."""


def event_from(attributes: dict[str, Any], body: bytes) -> Event:
    """Returns the event that `attributes` and `body` describe; unknown attributes are ignored.

    Raises:
        UndecodableEventError: a required attribute is missing or of the wrong type.
    """
    try:
        if not str(attributes["specversion"]).startswith("1."):
            raise UndecodableEventError(f"CloudEvents specversion {attributes['specversion']!r} is not 1.x")
        seq = attributes.get("seq")
        return Event(
            type=str(attributes["type"]),
            body=body,
            source=str(attributes["source"]),
            subject=str(attributes.get("subject", "")),
            name=str(attributes.get("name", "")),
            rooms=_texts(attributes.get("rooms", ())),
            seq=None if seq is None else int(seq),
            users=_texts(attributes.get("users", ())),
            everywhere=bool(attributes.get("everywhere", False)),
            request_id=str(attributes.get("requestid", "")),
            traceparent=str(attributes.get("traceparent", "")),
            id=str(attributes["id"]),
            time=str(attributes.get("time", "")),
        )
    except KeyError as missing:
        raise UndecodableEventError(f"the attribute {missing} is missing") from None
    except (TypeError, ValueError) as error:
        raise UndecodableEventError(f"an attribute does not fit: {error}") from None


def _texts(value: object) -> tuple[str, ...]:
    if not isinstance(value, list | tuple):
        raise TypeError(f"a list was expected, not {type(value).__name__}")
    return tuple(map(str, value))


class Wire(BaseModel):
    """A body on the bus: camelCase JSON, frozen; fields of a newer version are ignored."""

    model_config = ConfigDict(
        frozen=True, alias_generator=to_camel, validate_by_name=True, validate_by_alias=True, extra="ignore"
    )

    def json_bytes(self) -> bytes:
        """Returns the JSON that goes onto the bus."""
        return self.model_dump_json(by_alias=True).encode()


class HistoryMessage(Wire):
    """A message as the assistant sees it."""

    id: str
    role: Literal["USER", "AI", "SYSTEM"]
    user_id: str | None
    name: str | None
    content: str


class ReplyRequested(Wire):
    """Asks a worker for one reply; carries all that the worker needs."""

    type: Literal["reply.requested"] = "reply.requested"
    reply_id: str
    chat_id: str
    reply_to: str
    title: str
    context: dict[str, Any] | None
    members: dict[str, str]
    """Display names by user id."""
    history: tuple[HistoryMessage, ...]
    """The last messages up to and including the one to answer, oldest first."""
    regenerates: str | None = None
    """The AI message that answers the same, where another answer is asked for."""


class ReplyFinished(Wire):
    """A reply, to be stored as the chat's next message: whole, or what was written when it was cancelled.

    `content` is exactly the contents of its `attempt`'s chunks, joined.
    """

    type: Literal["reply.finished"] = "reply.finished"
    reply_id: str
    chat_id: str
    content: str
    metadata: dict[str, Any] | None = None
    attempt: int = 1


class ReplyFailed(Wire):
    """No reply could be written; `code` is a stable snake_case word, `content` what its chunks held."""

    type: Literal["reply.failed"] = "reply.failed"
    reply_id: str
    chat_id: str
    code: str
    metadata: dict[str, Any] | None = None
    content: str = ""
    attempt: int = 1


class ReplyCancelRequested(Wire):
    """The reply is to end where it is; whoever writes it says `reply.finished` with what it has sent."""

    type: Literal["reply.cancel_requested"] = "reply.cancel_requested"
    reply_id: str
    chat_id: str
    user_id: str


class SessionEnded(Wire):
    """A session's tokens are worth nothing from now on."""

    type: Literal["session.ended"] = "session.ended"
    session_id: str
    user_id: str


class MemberRemoved(Wire):
    """The gateway's part of a `member-removed`: this user's sockets leave this chat's room."""

    type: Literal["member.removed"] = "member.removed"
    chat_id: str
    user_id: str


Command = Annotated[
    ReplyRequested | ReplyFinished | ReplyFailed | ReplyCancelRequested | SessionEnded | MemberRemoved,
    Field(discriminator="type"),
]
"""The bodies that programs act on, told apart by the event's type."""

_COMMANDS: TypeAdapter[Command] = TypeAdapter(Command)


def command_of(event: Event) -> Command:
    """Returns the body of an event that a program acts on.

    Raises:
        UndecodableEventError: the type is not one of the union's, or the body does not fit it.
    """
    try:
        fields = orjson.loads(event.body)
        fields["type"] = event.type
        return _COMMANDS.validate_python(fields)
    except (ValueError, TypeError) as error:
        raise UndecodableEventError(f"{event.type} {event.id}: {error}") from None
