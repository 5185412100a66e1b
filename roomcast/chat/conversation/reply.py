"""Puts together the reply being written, from chunks that arrive in any order and repeat."""

from typing import Final

from roomcast.chat.models import Chunk, Message, Reply, Status

_OVER: Final = frozenset({"completed", "cancelled", "failed"})


class ReplyText:
    """The text of one attempt at a reply, put together from chunks by their index.

    Attributes:
        content: the text up to the first chunk that is missing.
    """

    def __init__(self, reply_id: str, attempt: int = 1) -> None:
        self.reply_id = reply_id
        self.attempt = attempt
        self.content = ""
        self._next = 0
        self._early: dict[int, str] = {}

    def add(self, index: int, content: str) -> None:
        """Adds a chunk; one that is known is dropped, one that comes early waits for those before it."""
        if index >= self._next:
            self._early[index] = content
        self._join()

    def resume(self, reply: Reply) -> None:
        """Adopts what the server has of this reply; chunks from its `next_index` on still count."""
        if reply.next_index > self._next:
            self.content, self._next = reply.content, reply.next_index
            self._early = {index: text for index, text in self._early.items() if index >= self._next}
        self._join()

    def _join(self) -> None:
        while (following := self._early.pop(self._next, None)) is not None:
            self.content += following
            self._next += 1


class LiveReply:
    """The assistant's doings in a chat: the reply being written, and the step it is at."""

    def __init__(self) -> None:
        self._text: ReplyText | None = None
        self._doing = ""
        self._whole: set[str] = set()

    @property
    def content(self) -> str:
        """Returns the text so far of the reply being written; "" for none."""
        return self._text.content if self._text else ""

    @property
    def doing(self) -> str:
        """Returns the step that the assistant is at before it writes on; "" for none."""
        return self._doing

    @property
    def writing(self) -> str | None:
        """Returns the id of the reply being written; None for none."""
        return self._text.reply_id if self._text else None

    def resume(self, reply: Reply | None) -> None:
        """Adopts the reply that the server says is being written now."""
        if reply is None:
            self._end()
        elif (text := self._attempt(reply.reply_id, reply.attempt)) is not None:
            self._text = text
            text.resume(reply)

    def add(self, chunk: Chunk) -> None:
        """Adds a chunk; none of a reply that is whole, nor the rest of one whose beginning is not known."""
        text = self._attempt(chunk.reply_id, chunk.attempt)
        if text is None or (text is not self._text and chunk.index > 0):
            return
        self._text, self._doing = text, ""
        text.add(chunk.index, chunk.content)

    def status(self, status: Status) -> None:
        """Applies a status; `thinking` begins it, or begins it again."""
        if status.status in _OVER:
            self._end()
        elif self._attempt(status.reply_id, status.attempt) is not None:
            if status.status == "thinking":
                self._text = ReplyText(status.reply_id, status.attempt)
            tool = (status.data or {}).get("tool", "a tool")
            self._doing = f"is using {tool} …" if status.status == "tool_calling" else "is thinking …"

    def whole(self, message: Message) -> None:
        """Notes the finished reply."""
        self._whole.add(message.id)
        if self._text is not None and self._text.reply_id == message.id:
            self._end()

    def _attempt(self, reply_id: str, attempt: int) -> ReplyText | None:
        """Returns the text of this attempt; None when the attempt counts no more."""
        known = self._text
        if reply_id in self._whole:
            return None
        if known is None or known.reply_id != reply_id or known.attempt < attempt:
            return ReplyText(reply_id, attempt)
        return known if known.attempt == attempt else None

    def _end(self) -> None:
        self._text, self._doing = None, ""
