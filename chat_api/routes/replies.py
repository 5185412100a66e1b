"""Cancelling replies, and having them written again."""

from aiohttp import web

from chat_api.chats.models import ReplyAsked
from chat_api.http.endpoints import Call, Endpoints, answer
from chat_api.http.problems import Deleted, NotAReply, NotFound, RateLimited, ReplyFinished
from chat_api.http.rate_limits import Limits, enforce
from chat_api.replies.cancellation import Cancellation
from chat_api.replies.regeneration import Regeneration


def reply_endpoints(cancellation: Cancellation, regeneration: Regeneration, limits: Limits) -> Endpoints:
    """Declares the endpoints of replies."""
    endpoints = Endpoints("Replies")

    @endpoints.post(
        "/api/chat/{chatId}/replies/{replyId}/cancel",
        summary="Cancel a reply",
        description="For any member. What was written so far is kept as the AI message, with "
        "metadata.cancelled; it is announced by new-msg, then ai-status cancelled. Again: the same.",
        answers={202: ReplyAsked},
        problems=[NotFound, ReplyFinished],
    )
    async def cancel(call: Call[None, None]) -> web.StreamResponse:
        reply = call.path["replyId"]
        await cancellation.cancel(call.caller.user_id, call.path["chatId"], reply)
        return answer(202, ReplyAsked(reply_id=reply))

    @endpoints.post(
        "/api/chat/{chatId}/messages/{messageId}/regenerate",
        summary="Have a reply written again",
        description="For any member. The message stays; the new reply, whose metadata.regenerates names it, "
        "takes its turn. While one that was asked for is yet to come, asking again answers that one.",
        answers={202: ReplyAsked},
        problems=[NotFound, NotAReply, Deleted, RateLimited],
    )
    async def regenerate(call: Call[None, None]) -> web.StreamResponse:
        enforce(limits.posts, call.caller.user_id)
        chat, message = call.path["chatId"], call.path["messageId"]
        return answer(
            202, ReplyAsked(reply_id=await regeneration.regenerate(call.caller.user_id, chat, message))
        )

    return endpoints
