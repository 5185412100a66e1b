"""The bodies, queries and answers of chats, members and messages.

The answers' JSON is made in SQL (`migrations/schema/06_shapes.sql`); these models describe it.
"""

from typing import Annotated, Any, Literal

from pydantic import Field, ValidationInfo, field_validator

from chat_api.http.fields import MAX_SEQ, ApiModel, JsonObject, Seq, Timestamp, UserId, Uuid, text

Assistant = Literal["always", "mention", "off"]
Title = Annotated[str, text(1, 200)]
Content = Annotated[str, text(1, 32_000)]
IdText = Annotated[str, text(1, 200)]
"""An id as a caller writes it; one that is no UUID is the id of nothing."""
OptionalSeq = Annotated[int | None, Field(ge=0, le=MAX_SEQ)]
IdempotencyKey = Annotated[str, Field(min_length=1, max_length=200)]


def _no_default(schema: dict[str, Any]) -> None:
    del schema["default"]


class NewChat(ApiModel):
    """A chat to make; the caller owns it and is a member."""

    title: Title
    member_ids: Annotated[list[UserId], Field(max_length=100, default_factory=list)]
    assistant: Assistant | None = Field(
        None, description="Whether the assistant answers. Without it: always in a chat of one, else mention."
    )
    context: JsonObject | None = None


class ChatChanges(ApiModel):
    """Changes to a chat; what is left out stays (`model_fields_set` tells)."""

    title: Title = Field("", json_schema_extra=_no_default)
    assistant: Assistant = Field("off", json_schema_extra=_no_default)
    context: JsonObject | None = None


class NewMember(ApiModel):
    """A user to add to a chat."""

    user_id: UserId


class NewMessage(ApiModel):
    """A message to post."""

    chat_id: IdText
    content: Content
    reply_to: IdText | None = None
    metadata: JsonObject | None = None


class Edit(ApiModel):
    """A message's new content."""

    content: Content


class ReadUpTo(ApiModel):
    """The seq up to which the caller has read."""

    seq: Seq


class ChatsQuery(ApiModel):
    """The page of chats to show."""

    limit: Annotated[int, Field(ge=1, le=100)] = 50
    cursor: str | None = Field(None, max_length=500, description="nextCursor of the page before")


class MessagesQuery(ApiModel):
    """The page of messages to show; without a seq the last one."""

    after_seq: OptionalSeq = None
    before_seq: OptionalSeq = None
    limit: Annotated[int, Field(ge=1, le=200)] = 50

    @field_validator("before_seq")
    @classmethod
    def _one_direction(cls, before_seq: int | None, info: ValidationInfo) -> int | None:
        if before_seq is not None and info.data.get("after_seq") is not None:
            raise ValueError("afterSeq and beforeSeq exclude each other")
        return before_seq


class SyncQuery(ApiModel):
    """The messages that the caller has seen already."""

    after_seq: OptionalSeq = None


class Message(ApiModel):
    """A message; a deleted one stays as a tombstone with empty content and `deletedAt`."""

    id: Uuid
    chat_id: Uuid
    seq: Seq
    role: Literal["USER", "AI", "SYSTEM"]
    user_id: str | None
    content: str
    time: Timestamp
    reply_to: Uuid | None
    metadata: JsonObject | None
    edited_at: Timestamp | None
    deleted_at: Timestamp | None


class Chat(ApiModel):
    """A chat as the caller, one of its members, sees it."""

    id: Uuid
    title: str
    owner_id: str
    assistant: Assistant
    context: JsonObject | None
    last_seq: Seq
    created_at: Timestamp
    updated_at: Timestamp
    last_message: Message | None
    unread: Annotated[int, Field(ge=0, description="Messages that others wrote above one's read seq")]


class Member(ApiModel):
    """A member of a chat."""

    user_id: str
    display_name: str
    role: Literal["owner", "member"]
    joined_at: Timestamp


class Reply(ApiModel):
    """The reply that is being written: its text so far, and the index of the chunk that comes next."""

    reply_id: Uuid
    content: str
    next_index: Annotated[int, Field(ge=0)]
    attempt: Annotated[
        int, Field(ge=2, json_schema_extra=_no_default, description="Which attempt; the first has none.")
    ] = 2


class ReplyAsked(ApiModel):
    """The reply that the call is about."""

    reply_id: Uuid


class ChatDetail(Chat):
    """A chat with its members, its last messages (oldest first) and the reply that is being written."""

    members: list[Member]
    msgs: list[Message]
    reply: Reply | None


class ChatPage(ApiModel):
    """Chats, latest activity first."""

    items: list[Chat]
    next_cursor: str | None


class MessagePage(ApiModel):
    """Messages, oldest first; `hasMore`: another call in the same direction is due."""

    items: list[Message]
    has_more: bool


class Sync(ApiModel):
    """All that a client that was away needs to be up to date; also the acknowledgement of `join-chat`."""

    ok: Literal[True]
    chat_id: Uuid
    last_seq: Seq
    missed: list[Message]
    has_more: bool
    reply: Reply | None
    online: list[str]
