"""Models of the public contract, as the terminal client reads it; unknown fields are ignored."""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict
from pydantic.alias_generators import to_camel


class Received(BaseModel):
    """JSON of the API or the gateway."""

    model_config = ConfigDict(frozen=True, alias_generator=to_camel, extra="ignore")


class User(Received):
    """A person with an account."""

    id: str
    username: str | None = None
    display_name: str


class Session(Received):
    """The answer to logging in, registering and refreshing; `expires_in` is in seconds."""

    user: User
    access_token: str
    refresh_token: str
    expires_in: float


class Member(Received):
    """A user in a chat."""

    user_id: str
    display_name: str
    role: str


class Message(Received):
    """One message; `seq` counts 1, 2, 3 … in its chat."""

    id: str
    chat_id: str
    seq: int
    role: Literal["USER", "AI", "SYSTEM"]
    user_id: str | None
    content: str
    time: str
    reply_to: str | None = None
    metadata: dict[str, Any] | None = None
    edited_at: str | None = None
    deleted_at: str | None = None


class Reply(Received):
    """A reply that is being written: what there is of it, and the index of the chunk that comes next."""

    reply_id: str
    content: str
    next_index: int
    attempt: int = 1


class Chat(Received):
    """A chat; `members`, `msgs` and `reply` only where one chat was asked for."""

    id: str
    title: str
    owner_id: str
    assistant: Literal["always", "mention", "off"]
    last_seq: int = 0
    last_message: Message | None = None
    unread: int = 0
    members: tuple[Member, ...] = ()
    msgs: tuple[Message, ...] = ()
    reply: Reply | None = None


class Joined(Received):
    """The answer to joining a chat's room."""

    last_seq: int
    missed: tuple[Message, ...] = ()
    has_more: bool = False
    reply: Reply | None = None
    online: tuple[str, ...] = ()


class Chunk(Received):
    """A piece of a reply."""

    reply_id: str
    index: int
    content: str
    attempt: int = 1


class Status(Received):
    """The progress of a reply."""

    reply_id: str
    reply_to: str | None = None
    status: str
    data: dict[str, Any] | None = None
    attempt: int = 1
