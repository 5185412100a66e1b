"""A witness: judges what one socket hears as it comes."""

import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final

Message = Mapping[str, Any]
"""A `Message` of the contract."""

_COMPARED: Final = ("id", "chatId", "seq", "role", "userId", "content", "time", "replyTo")


class Kind(StrEnum):
    """A kind of violation."""

    LOST = "lost"
    REPEATED = "repeated"
    OUT_OF_ORDER = "out of order"
    GAP = "unsignalled gap"
    INVENTED = "invented"
    REPLY = "reply"
    REFUSED = "refused"
    HANG = "hang"
    DEATH = "death"


@dataclass(frozen=True, slots=True)
class Heard:
    """A message as a socket first heard it."""

    id: str
    fingerprint: int
    at: float


@dataclass(slots=True)
class Draft:
    """A reply being written, as far as the chunks of its latest attempt came without a hole."""

    attempt: int
    chunks: list[str] = field(default_factory=list)
    whole: bool = False


def fingerprint(message: Message) -> int:
    """The same for the same message, within this process."""
    return hash(tuple(message.get(name) for name in _COMPARED))


class Witness:
    """The witness of one member's socket and one chat, over as many connections as it takes.

    Attributes:
        seen: every message up to this `seq` was heard.
        connected: whether it has a connection now.
        attempts: how often each reply was seen to be begun.
        previews: replies whose chunks were seen from the first to the last.
        replaced: those of them whose chunks were those of a later attempt, by the number that they carry.
    """

    def __init__(
        self,
        name: str,
        chat_id: str,
        *,
        report: Callable[[Kind, str], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.name = name
        self.chat_id = chat_id
        self.seen = 0
        self.connected = False
        self.heard: dict[int, Heard] = {}
        self.frames = 0
        self.repeats = 0
        self.signals = 0
        self.attempts: Counter[str] = Counter()
        self.previews = 0
        self.replaced = 0
        self._drafts: dict[str, Draft] = {}
        self._report = report
        self._clock = clock
        self._next: int | None = None
        self._highest = 0

    def connection(self, *, up: bool) -> None:
        """A connection was made or lost: what comes next may come after a gap."""
        self.connected = up
        self._highest = 0
        self.signalled()

    def signalled(self) -> None:
        """It was told that it may have missed something."""
        self.signals += 1
        self._next = None

    def joined(self, after: int, ack: Mapping[str, Any], *, asked_at: int) -> None:
        """`join-chat` with `afterSeq` was acknowledged; `asked_at` is what `signals` was when it was sent."""
        expected = after + 1
        for message in ack["missed"]:
            self.frames += 1
            if message["seq"] != expected:
                self._wrong(Kind.LOST, f"{expected} is not in `missed`, {message['seq']} is")
            expected = message["seq"] + 1
            self._hear(message)
        if ack["hasMore"]:
            return
        if expected != ack["lastSeq"] + 1:
            self._wrong(Kind.LOST, f"`missed` ends before {expected}, `lastSeq` is {ack['lastSeq']}")
        if asked_at == self.signals:
            self._next = ack["lastSeq"] + 1

    def live(self, message: Message) -> None:
        """A `new-msg` came."""
        self.frames += 1
        seq = message["seq"]
        if message["chatId"] != self.chat_id:
            self._wrong(Kind.INVENTED, f"a message of another chat, {message['chatId']}")
            return
        known = seq in self.heard
        if not known and seq < self._highest:
            self._wrong(Kind.OUT_OF_ORDER, f"{seq} came after {self._highest}")
        elif self._next is not None and seq > self._next:
            self._wrong(Kind.GAP, f"{seq} came where {self._next} was due, and no signal before it")
        self._highest = max(self._highest, seq)
        if self._next is not None:
            self._next = max(self._next, seq + 1)
        self._hear(message)

    def writing(self, event: str, body: Mapping[str, Any]) -> None:
        """An `ai-status` or `ai-chunk` came; the preview is kept as docs/protocol.md tells clients to."""
        reply_id, attempt = body["replyId"], body.get("attempt", 1)
        draft = self._drafts.get(reply_id)
        if draft is not None and attempt < draft.attempt:
            return  # of an attempt that counts no more
        if event == "ai-status":
            if body["status"] == "thinking":
                self.attempts[reply_id] += 1
                self._drafts[reply_id] = Draft(attempt)
            return
        if draft is None or attempt > draft.attempt:
            draft = self._drafts[reply_id] = Draft(attempt)
        if body["index"] < len(draft.chunks):
            return
        if body["index"] > len(draft.chunks):
            del self._drafts[reply_id]  # some were lost, and that shows
            return
        draft.chunks.append(body["content"])
        draft.whole = body["isFinal"]

    def _replied(self, message: Message) -> None:
        draft = self._drafts.pop(message["id"], None)
        if draft is None or not draft.whole:
            return
        self.previews += 1
        self.replaced += draft.attempt > 1
        if "".join(draft.chunks) != message["content"]:
            self._wrong(Kind.REPLY, f"the chunks of {message['id']} are not its content")

    def _hear(self, message: Message) -> None:
        seq, mark = message["seq"], fingerprint(message)
        before = self.heard.get(seq)
        if before is None:
            if message["role"] == "AI":
                self._replied(message)
            self.heard[seq] = Heard(message["id"], mark, self._clock())
        elif before.id != message["id"]:
            self._wrong(Kind.REPEATED, f"{seq} is {before.id} and {message['id']}")
        elif before.fingerprint != mark:
            self._wrong(Kind.INVENTED, f"{seq} came with two contents")
        else:
            self.repeats += 1
        while self.seen + 1 in self.heard:
            self.seen += 1

    def _wrong(self, kind: Kind, what: str) -> None:
        self._report(kind, f"{self.name}: {what}")
