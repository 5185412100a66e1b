"""`/api/chat`: chats, their members, and what a socket missed."""

from aiohttp import web

from chat_api.chats.chats import Chats
from chat_api.chats.history import History
from chat_api.chats.members import Members
from chat_api.chats.models import (
    Chat,
    ChatChanges,
    ChatDetail,
    ChatPage,
    ChatsQuery,
    Member,
    NewChat,
    NewMember,
    ReadUpTo,
    Sync,
    SyncQuery,
)
from chat_api.http.endpoints import Call, Endpoints, answer
from chat_api.http.problems import Forbidden, NotFound, OwnerCannotLeave


def chat_endpoints(chats: Chats, history: History) -> Endpoints:
    """Declares the endpoints of chats."""
    endpoints = Endpoints("Chats")

    @endpoints.post("/api/chat", body=NewChat, summary="Create a chat", answers={201: Chat})
    async def create(call: Call[NewChat, None]) -> web.StreamResponse:
        return answer(201, await chats.create(call.caller.user_id, call.body))

    @endpoints.get("/api/chat", query=ChatsQuery, summary="List your chats", answers={200: ChatPage})
    async def page(call: Call[None, ChatsQuery]) -> web.StreamResponse:
        return answer(200, await chats.page(call.caller.user_id, call.query.limit, call.query.cursor))

    @endpoints.get(
        "/api/chat/{chatId}", summary="Show a chat", answers={200: ChatDetail}, problems=[NotFound]
    )
    async def detail(call: Call[None, None]) -> web.StreamResponse:
        return answer(200, await chats.detail(call.caller.user_id, call.path["chatId"]))

    @endpoints.patch(
        "/api/chat/{chatId}",
        body=ChatChanges,
        summary="Change a chat",
        answers={200: Chat},
        problems=[NotFound],
    )
    async def change(call: Call[ChatChanges, None]) -> web.StreamResponse:
        return answer(200, await chats.change(call.caller.user_id, call.path["chatId"], call.body))

    @endpoints.delete(
        "/api/chat/{chatId}",
        summary="Delete a chat",
        description="For its owner. Its messages go with it.",
        answers={204: None},
        problems=[NotFound, Forbidden],
    )
    async def delete(call: Call[None, None]) -> web.StreamResponse:
        await chats.delete(call.caller.user_id, call.path["chatId"])
        return answer(204)

    @endpoints.get(
        "/api/chat/{chatId}/sync",
        query=SyncQuery,
        summary="Catch up",
        description="What the acknowledgement of `join-chat` holds: at most 200 messages after `afterSeq`.",
        answers={200: Sync},
        problems=[NotFound],
    )
    async def sync(call: Call[None, SyncQuery]) -> web.StreamResponse:
        return answer(200, await history.sync(call.caller.user_id, call.path["chatId"], call.query.after_seq))

    return endpoints


def member_endpoints(members: Members) -> Endpoints:
    """Declares the endpoints of members."""
    endpoints = Endpoints("Members")

    @endpoints.post(
        "/api/chat/{chatId}/members",
        body=NewMember,
        summary="Add a member",
        description="For the owner. 200 when the user is a member already.",
        answers={201: Member, 200: Member},
        problems=[NotFound, Forbidden],
    )
    async def add(call: Call[NewMember, None]) -> web.StreamResponse:
        member, is_new = await members.add(call.caller.user_id, call.path["chatId"], call.body.user_id)
        return answer(201 if is_new else 200, member)

    @endpoints.delete(
        "/api/chat/{chatId}/members/{userId}",
        summary="Remove a member",
        description="For the owner, or to leave.",
        answers={204: None},
        problems=[NotFound, Forbidden, OwnerCannotLeave],
    )
    async def remove(call: Call[None, None]) -> web.StreamResponse:
        await members.remove(call.caller.user_id, call.path["chatId"], call.path["userId"])
        return answer(204)

    @endpoints.post(
        "/api/chat/{chatId}/read",
        body=ReadUpTo,
        summary="Mark as read",
        answers={204: None},
        problems=[NotFound],
    )
    async def read(call: Call[ReadUpTo, None]) -> web.StreamResponse:
        await members.read(call.caller.user_id, call.path["chatId"], call.body.seq)
        return answer(204)

    return endpoints
