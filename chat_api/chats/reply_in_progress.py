"""The reply that is being written in a chat, for those who join in the middle of it."""

from typing import NotRequired, TypedDict

from shared.store.drafts import Drafts


class ReplyInProgress(TypedDict):
    """A reply so far; the next chunk has index `nextIndex` and this `attempt` (1 is left out)."""

    replyId: str
    content: str
    nextIndex: int
    attempt: NotRequired[int]


class Progress:
    """Joins what PostgreSQL knows (which reply is being written) with what Redis holds (its text so far)."""

    def __init__(self, drafts: Drafts) -> None:
        self._drafts = drafts

    async def of(self, reply_id: str | None) -> ReplyInProgress | None:
        """Returns the reply in progress; None when there is none, or when no worker has begun to write it.

        `reply_id` is what the database says is being written, read before this is called.
        """
        draft = None if reply_id is None else await self._drafts.read(reply_id)
        if reply_id is None or draft is None:
            return None
        reply = ReplyInProgress(replyId=reply_id, content=draft.content, nextIndex=draft.next_index)
        if draft.attempt > 1:
            reply["attempt"] = draft.attempt
        return reply
