"""The events that the API announces, with the bodies that clients get and the rooms they go to."""

from collections.abc import Iterable, Sequence
from datetime import datetime

import orjson

from shared import events
from shared.events import Event, ReplyCancelRequested, chat_room, user_room
from shared.ids import rfc3339
from shared.reply_chunks import reply_chunk
from shared.store.drafts import Kept
from shared.telemetry.correlation import current_request_id, current_traceparent

SOURCE = "/roomcast/api"


def chat_changed(type_: str, name: str, chat_id: str, seen: Iterable[tuple[str, str]]) -> list[Event]:
    """Makes one event a member, as each sees the chat. `seen`: pairs of user id and the chat's JSON."""
    return [
        _event(type_, name=name, subject=chat_id, rooms=(user_room(user),), body=body.encode())
        for user, body in seen
    ]


def chat_deleted(chat_id: str, users: Sequence[str]) -> Event:
    """Makes `chat-deleted` for every member."""
    return _event(
        events.CHAT_DELETED,
        name="chat-deleted",
        subject=chat_id,
        rooms=tuple(map(user_room, users)),
        body=orjson.dumps({"id": chat_id}),
    )


def member_changed(type_: str, name: str, chat_id: str, user_id: str, body: str) -> Event:
    """Makes `member-added` or `member-removed` for the chat and for the member's own devices."""
    return _event(
        type_, name=name, subject=chat_id, rooms=(chat_room(chat_id), user_room(user_id)), body=body.encode()
    )


def message_created(
    chat_id: str,
    message_id: str,
    body: bytes,
    *,
    seq: int,
    users: Sequence[str],
    time: datetime,
    request_id: str,
    traceparent: str,
) -> Event:
    """Makes `new-msg` for the chat and `chat-activity` for its members, as `store_posts` records it."""
    return Event(
        type=events.MESSAGE_CREATED,
        body=body,
        source=SOURCE,
        subject=chat_id,
        name="new-msg",
        rooms=(chat_room(chat_id),),
        seq=seq,
        users=tuple(users),
        request_id=request_id,
        traceparent=traceparent,
        id=message_id,
        time=rfc3339(time),
    )


def message_changed(type_: str, name: str, chat_id: str, body: str) -> Event:
    """Makes `msg-updated` or `msg-deleted` for the chat."""
    return _event(type_, name=name, subject=chat_id, rooms=(chat_room(chat_id),), body=body.encode())


def chat_read(chat_id: str, user_id: str, seq: int) -> Event:
    """Makes `read` for the chat."""
    body = orjson.dumps({"chatId": chat_id, "userId": user_id, "seq": seq})
    return _event(events.CHAT_READ, name="read", subject=chat_id, rooms=(chat_room(chat_id),), body=body)


def reply_ended(
    chat_id: str, reply_id: str, reply_to: str, status: str, data: dict[str, str], attempt: int
) -> Event:
    """Makes the last `ai-status` of a reply; it follows the message that the reply became."""
    body = orjson.dumps(
        {
            "chatId": chat_id,
            "replyId": reply_id,
            "replyTo": reply_to,
            "status": status,
            "data": data,
            **events.numbered(attempt),
        }
    )
    return _event(
        events.REPLY_STATUS, name="ai-status", subject=reply_id, rooms=(chat_room(chat_id),), body=body
    )


def last_chunks(chat_id: str, reply_id: str, kept: Kept) -> list[Event]:
    """Makes the last chunk of a cancelled reply, if any, once more.

    Its worker may have died, or be slow, before it was sent; gateways that had it drop the repeat by its id.
    """
    if not kept.texts:
        return []
    return [
        reply_chunk(
            chat_id=chat_id,
            reply_id=reply_id,
            attempt=kept.attempt,
            index=len(kept.texts) - 1,
            content=kept.texts[-1],
            is_final=kept.is_final,
            request_id=current_request_id(),
            traceparent=current_traceparent(),
        )
    ]


def cancel_requested(chat_id: str, reply_id: str, user_id: str) -> Event:
    """Makes the workers' order to end a reply where it is, as a member wants."""
    request = ReplyCancelRequested(reply_id=reply_id, chat_id=chat_id, user_id=user_id)
    return _event(
        events.REPLY_CANCEL_REQUESTED, name="", subject=reply_id, rooms=(), body=request.json_bytes()
    )


def _event(type_: str, *, name: str, subject: str, rooms: tuple[str, ...], body: bytes) -> Event:
    return Event(
        type=type_,
        body=body,
        source=SOURCE,
        subject=subject,
        name=name,
        rooms=rooms,
        request_id=current_request_id(),
        traceparent=current_traceparent(),
    )
