"""Posts as the store takes them."""

from chat_api.chats.group_commit import Post
from shared.ids import new_id


def post_of(chat: str, user: str, *, key: str | None = None, body: bytes = b"x", **changed: object) -> Post:
    fields: dict[str, object] = {
        "chat_id": chat,
        "user_id": user,
        "session_id": "none",
        "content": "hello",
        "reply_to": None,
        "metadata": None,
        "mention": False,
        "key": key,
        "fingerprint": body if key else None,
        "message_id": new_id(),
        "reply_id": new_id(),
        "request_id": "r1",
        "traceparent": "",
    }
    return Post(**{**fields, **changed})  # type: ignore[arg-type]
