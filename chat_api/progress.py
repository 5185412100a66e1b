"""The reply that is being written in a chat, for those who come in the middle of it."""

from typing import TypedDict

from shared.drafts import Drafts


class ReplyInProgress(TypedDict):
    """What is written so far; the next chunk has index `nextIndex`."""

    replyId: str
    content: str
    nextIndex: int


class Progress:
    """Joins what PostgreSQL knows (which reply is being written) with what Redis holds (its text so far)."""

    def __init__(self, drafts: Drafts) -> None:
        self._drafts = drafts

    async def of(self, chat_id: str, reply_id: str | None) -> ReplyInProgress | None:
        """The reply in progress; None when there is none, or when no worker has begun to write it.

        Args:
            chat_id: the chat.
            reply_id: the reply that the database says is being written, read before this is called.
        """
        if reply_id is None:
            return None
        draft = await self._drafts.read(chat_id)
        if draft is None or draft.reply_id != reply_id:
            return None
        return {"replyId": draft.reply_id, "content": draft.content, "nextIndex": draft.next_index}
