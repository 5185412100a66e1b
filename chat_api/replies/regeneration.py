"""Regeneration: another version of a reply is a reply of its own, which takes its turn in the chat."""

from typing import Final

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from chat_api.chats.membership import lock_chat
from chat_api.http.problems import Deleted, NotAReply, NotFound
from chat_api.replies.endings import ask_next
from shared.ids import new_id
from shared.telemetry.correlation import current_request_id, current_traceparent

_MESSAGE: Final = text(
    "SELECT m.role, m.deleted_at IS NOT NULL AS deleted, q.id::text AS question, q.seq AS question_seq,"
    " q.deleted_at IS NOT NULL AS question_deleted "
    "FROM messages m LEFT JOIN messages q ON q.id = m.reply_to AND q.chat_id = m.chat_id "
    "WHERE m.chat_id = CAST(:chat AS uuid) AND m.id = CAST(:message AS uuid)"
)
_UNDER_WAY: Final = text(
    "SELECT id::text FROM replies WHERE chat_id = CAST(:chat AS uuid)"
    " AND regenerates = CAST(:message AS uuid) AND status IN ('queued', 'requested')"
    " AND cancel_requested_at IS NULL LIMIT 1"
)
_QUEUE: Final = text(
    "INSERT INTO replies (id, chat_id, reply_to, reply_to_seq, regenerates, turn, status,"
    " request_id, traceparent) VALUES (CAST(:id AS uuid), CAST(:chat AS uuid), CAST(:question AS uuid),"
    " :question_seq, CAST(:message AS uuid), :turn, 'queued', :request, :trace)"
)


class Regeneration:
    """Asks for replies again."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

    async def regenerate(self, user_id: str, chat_id: str, message_id: str) -> str:
        """Asks for another version of an AI message, for any member; returns the new reply's id.

        While a version asked for before is yet to come, it is that one: a call that is repeated asks once.

        Raises:
            NotFound: no such message in the chat, or no such chat for the user.
            NotAReply: the message is not the assistant's.
            Deleted: the message, or the one that it answers, was deleted.
        """
        async with self._engine.begin() as connection:
            membership = await lock_chat(connection, chat_id, user_id)
            named = {"chat": chat_id, "message": message_id}
            message = (await connection.execute(_MESSAGE, named)).one_or_none()
            if message is None:
                raise NotFound("There is no such message in this chat.")
            if message.role != "AI":
                raise NotAReply
            if message.deleted:
                raise Deleted
            if message.question is None or message.question_deleted:
                raise Deleted("The message that this one answers was deleted.")
            under_way = (await connection.execute(_UNDER_WAY, named)).scalar_one_or_none()
            if under_way is not None:
                return str(under_way)
            reply_id = new_id()
            await connection.execute(
                _QUEUE,
                {
                    **named,
                    "id": reply_id,
                    "question": message.question,
                    "question_seq": message.question_seq,
                    "turn": membership.last_seq,
                    "request": current_request_id(),
                    "trace": current_traceparent(),
                },
            )
            await ask_next(connection, chat_id)
        return reply_id
