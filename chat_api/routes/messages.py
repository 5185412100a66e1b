"""`/api/chat/messages` and `/api/chat/{chatId}/messages`."""

from typing import Final

from aiohttp import web

from chat_api.chats.history import LAST, History
from chat_api.chats.messages import Messages
from chat_api.chats.models import Edit, IdempotencyKey, Message, MessagePage, MessagesQuery, NewMessage
from chat_api.http.endpoints import Call, Endpoints, answer
from chat_api.http.problems import (
    Deleted,
    Forbidden,
    IdempotencyMismatch,
    NotFound,
    RateLimited,
    ReplyNotFound,
)
from chat_api.http.rate_limits import Limits, enforce

KEY: Final = "Idempotency-Key"
REPLAYED: Final = {"Idempotency-Replayed": "true"}


def message_endpoints(messages: Messages, history: History, limits: Limits) -> Endpoints:
    """Declares the endpoints of messages."""
    endpoints = Endpoints("Messages")

    @endpoints.post(
        "/api/chat/messages",
        body=NewMessage,
        headers={KEY: IdempotencyKey},
        summary="Post a message",
        description="201: the message is stored, and will be broadcast. With an Idempotency-Key a repeat "
        "answers 200 with the same Message and the header Idempotency-Replayed.",
        answers={201: Message, 200: Message},
        problems=[NotFound, IdempotencyMismatch, ReplyNotFound, RateLimited],
        session_checked=True,
    )
    async def post(call: Call[NewMessage, None]) -> web.StreamResponse:
        enforce(limits.posts, call.caller.user_id)
        message, replayed = await messages.post(
            call.caller.user_id, call.caller.session_id, call.body, call.headers.get(KEY)
        )
        return answer(200, message, REPLAYED) if replayed else answer(201, message)

    @endpoints.get(
        "/api/chat/{chatId}/messages",
        query=MessagesQuery,
        summary="List messages",
        description="The page right after or right before a seq, or the last page.",
        answers={200: MessagePage},
        problems=[NotFound],
    )
    async def page(call: Call[None, MessagesQuery]) -> web.StreamResponse:
        caller, chat, query = call.caller.user_id, call.path["chatId"], call.query
        if query.after_seq is not None:
            return answer(200, await history.after(caller, chat, query.after_seq, query.limit))
        before = LAST if query.before_seq is None else query.before_seq
        return answer(200, await history.before(caller, chat, before, query.limit))

    @endpoints.patch(
        "/api/chat/{chatId}/messages/{messageId}",
        body=Edit,
        summary="Edit a message",
        answers={200: Message},
        problems=[NotFound, Forbidden, Deleted],
    )
    async def edit(call: Call[Edit, None]) -> web.StreamResponse:
        chat, message = call.path["chatId"], call.path["messageId"]
        return answer(200, await messages.edit(call.caller.user_id, chat, message, call.body.content))

    @endpoints.delete(
        "/api/chat/{chatId}/messages/{messageId}",
        summary="Delete a message",
        description="For its author or the chat's owner. It stays as a tombstone.",
        answers={204: None},
        problems=[NotFound, Forbidden],
    )
    async def delete(call: Call[None, None]) -> web.StreamResponse:
        await messages.delete(call.caller.user_id, call.path["chatId"], call.path["messageId"])
        return answer(204)

    return endpoints
