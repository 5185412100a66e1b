"""A chunk of a reply as an event: from the worker that writes it, and again from whoever ends the reply."""

from typing import Final

import orjson

from shared.events import REPLY_CHUNK, Event, chat_room, numbered

SOURCE: Final = "/roomcast/worker"


def reply_chunk(
    *,
    chat_id: str,
    reply_id: str,
    attempt: int,
    index: int,
    content: str,
    is_final: bool,
    request_id: str,
    traceparent: str,
) -> Event:
    """Returns an `ai-chunk` for the chat. The same chunk is the same event, so gateways drop a repeat."""
    body = {
        "chatId": chat_id,
        "replyId": reply_id,
        "index": index,
        "content": content,
        "isFinal": is_final,
        **numbered(attempt),
    }
    return Event(
        REPLY_CHUNK,
        orjson.dumps(body),
        id=f"{reply_id}:{attempt}:{index}",
        source=SOURCE,
        subject=reply_id,
        name="ai-chunk",
        rooms=(chat_room(chat_id),),
        request_id=request_id,
        traceparent=traceparent,
    )
