"""The reply that is being written, put together from what arrives in any order and repeats."""

from typing import Final

from roomcast.chat.models import Chunk, Message, Reply, Status

_OVER: Final = frozenset({"completed", "cancelled", "failed"})


class ReplyText:
    """The text of a reply that is being written, put together from chunks by their index.

    Attributes:
        content: the text up to the first chunk that is missing.
    """

    def __init__(self, reply_id: str, content: str = "", next_index: int = 0) -> None:
        self.reply_id = reply_id
        self.content = content
        self._next = next_index
        self._early: dict[int, str] = {}

    def add(self, index: int, content: str) -> None:
        """Takes a chunk; one that is known is dropped, one that comes early waits for those before it."""
        if index >= self._next:
            self._early[index] = content
        self._join()

    def resume(self, reply: Reply) -> None:
        """Takes what the server has of this reply; chunks from its `next_index` on still count."""
        if reply.next_index > self._next:
            self.content, self._next = reply.content, reply.next_index
            self._early = {index: text for index, text in self._early.items() if index >= self._next}
        self._join()

    def _join(self) -> None:
        while (following := self._early.pop(self._next, None)) is not None:
            self.content += following
            self._next += 1


class LiveReply:
    """What the assistant is doing in a chat."""

    def __init__(self) -> None:
        self._text: ReplyText | None = None
        self._doing = ""
        self._whole: set[str] = set()

    @property
    def content(self) -> str:
        """What there is of the reply being written; "" for none."""
        return self._text.content if self._text else ""

    @property
    def doing(self) -> str:
        """What the assistant does before it writes on; "" for nothing."""
        return self._doing

    def resume(self, reply: Reply | None) -> None:
        """Takes what the server says is being written now."""
        if reply is None:
            self._end()
        elif reply.reply_id not in self._whole:
            if self._text is None or self._text.reply_id != reply.reply_id:
                self._text = ReplyText(reply.reply_id)
            self._text.resume(reply)

    def add(self, chunk: Chunk) -> None:
        """Takes a chunk; none of a reply that is whole, nor the rest of one whose beginning is not known."""
        if chunk.reply_id in self._whole:
            return
        if self._text is None or self._text.reply_id != chunk.reply_id:
            if chunk.index > 0:
                return
            self._text = ReplyText(chunk.reply_id)
        self._doing = ""
        self._text.add(chunk.index, chunk.content)

    def status(self, status: Status) -> None:
        """Takes how the reply gets on; `thinking` begins it, or begins it again."""
        if status.status in _OVER:
            self._end()
        elif status.reply_id not in self._whole:
            if status.status == "thinking":
                self._text = ReplyText(status.reply_id)
            tool = (status.data or {}).get("tool", "a tool")
            self._doing = f"is using {tool} …" if status.status == "tool_calling" else "is thinking …"

    def whole(self, message: Message) -> None:
        """Takes the finished reply."""
        self._whole.add(message.id)
        if self._text is not None and self._text.reply_id == message.id:
            self._end()

    def _end(self) -> None:
        self._text, self._doing = None, ""
