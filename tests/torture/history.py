"""What was posted, answered and heard, and the judgement on it.

The rules are those of the contract: a 201 reaches every member that is connected at the end, once after
dropping known ids, in `seq` order without a hole; nothing is heard that is not stored; whatever may have been
missed is signalled before a later message is heard; each request to the assistant ends once.
"""

import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final

Message = Mapping[str, Any]
"""A `Message` of the contract."""

_COMPARED: Final = ("id", "chatId", "seq", "role", "userId", "content", "time", "replyTo")


class Kind(StrEnum):
    """What can be wrong."""

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
class Violation:
    """One promise broken."""

    kind: Kind
    what: str


@dataclass(slots=True)
class Post:
    """A post and its fate; times are of the monotonic clock.

    Attributes:
        asks: its chat's assistant has to answer it.
        answered: (id, seq) once it was answered 201 or 200.
    """

    chat_id: str
    content: str
    asks: bool
    began: float
    answered: tuple[str, int] | None = None
    answered_at: float = 0.0


@dataclass(frozen=True, slots=True)
class Heard:
    """A message as a socket first heard it."""

    id: str
    fingerprint: int
    at: float


@dataclass(slots=True)
class Draft:
    """A reply being written, as far as its chunks came without a hole."""

    chunks: list[str] = field(default_factory=list)
    whole: bool = False


def fingerprint(message: Message) -> int:
    """The same for the same message, within this process."""
    return hash(tuple(message.get(name) for name in _COMPARED))


class Witness:
    """What one member's socket hears of one chat, over as many connections as it takes.

    Attributes:
        seen: every message up to this `seq` was heard.
        connected: whether it has a connection now.
        attempts: how often each reply was seen to be begun.
        previews: replies whose chunks were seen from the first to the last.
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
        reply_id = body["replyId"]
        if event == "ai-status":
            if body["status"] == "thinking":
                self.attempts[reply_id] += 1
                self._drafts[reply_id] = Draft()
            return
        draft = self._drafts.get(reply_id)
        if draft is None or body["index"] < len(draft.chunks):
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


@dataclass(slots=True)
class History:
    """All that happened in one run."""

    posts: dict[str, Post] = field(default_factory=dict)
    witnesses: list[Witness] = field(default_factory=list)
    violations: list[Violation] = field(default_factory=list)
    clock: Callable[[], float] = time.monotonic

    def report(self, kind: Kind, what: str) -> None:
        """A promise was broken."""
        self.violations.append(Violation(kind, what))

    def witness(self, name: str, chat_id: str) -> Witness:
        """A new one."""
        witness = Witness(name, chat_id, report=self.report, clock=self.clock)
        self.witnesses.append(witness)
        return witness

    def posting(self, key: str, chat_id: str, content: str, *, asks: bool = False) -> None:
        """A post is sent for the first time; `content` is unlike any other."""
        self.posts[key] = Post(chat_id, content, asks, self.clock())

    def answered(self, key: str, message: Message) -> None:
        """It was answered 201, or 200."""
        post = self.posts[key]
        answer = (message["id"], message["seq"])
        if (message["chatId"], message["content"]) != (post.chat_id, post.content):
            self.report(Kind.INVENTED, f"{key} was answered with another message")
        if post.answered is None:
            post.answered, post.answered_at = answer, self.clock()
        elif post.answered != answer:
            self.report(Kind.REPEATED, f"{key} was answered {post.answered}, then {answer}")

    def judge(self, stored: Sequence[Message]) -> list[Violation]:
        """Every broken promise, given all messages that the database has, of all chats."""
        chats: dict[str, list[Message]] = defaultdict(list)
        for message in stored:
            chats[message["chatId"]].append(message)
        for chat_id, messages in chats.items():
            self._judge_numbers(chat_id, messages)
        self._judge_posts(stored)
        self._judge_replies(stored)
        for witness in self.witnesses:
            self._judge_witness(witness, chats[witness.chat_id])
        return self.violations

    def counts(self) -> Counter[Kind]:
        """How many violations there are of each kind."""
        return Counter(violation.kind for violation in self.violations)

    def _judge_numbers(self, chat_id: str, messages: Sequence[Message]) -> None:
        numbers = sorted(message["seq"] for message in messages)
        if numbers != list(range(1, len(numbers) + 1)):
            self.report(Kind.LOST, f"chat {chat_id} is not numbered 1 to {len(numbers)}")

    def _judge_posts(self, stored: Iterable[Message]) -> None:
        users = [message for message in stored if message["role"] == "USER"]
        by_id = {message["id"]: message for message in users}
        times = Counter(message["content"] for message in users)
        for key, post in self.posts.items():
            if times[post.content] > 1:
                self.report(Kind.REPEATED, f"{key} is stored {times[post.content]} times")
            if post.answered is None:
                continue
            found = by_id.get(post.answered[0])
            if found is None or (found["seq"], found["content"]) != (post.answered[1], post.content):
                self.report(Kind.LOST, f"{key} was answered {post.answered} and is not stored so")
        known = {post.content for post in self.posts.values()}
        for content in times.keys() - known:
            self.report(Kind.INVENTED, f"nobody posted {content!r}")

    def _judge_replies(self, stored: Iterable[Message]) -> None:
        asking = {post.content for post in self.posts.values() if post.asks}
        ends: dict[str, list[Message]] = defaultdict(list)
        requests: dict[str, Message] = {}
        for message in stored:
            if message["role"] != "USER":
                ends[message["replyTo"]].append(message)
            elif message["content"] in asking:
                requests[message["id"]] = message
        for request_id, request in requests.items():
            answers = ends.pop(request_id, [])
            if len(answers) != 1:
                self.report(Kind.REPLY, f"{request['content']!r} was answered {len(answers)} times")
            for answer in answers:
                if answer["role"] == "AI" and request["content"] not in answer["content"]:
                    self.report(Kind.REPLY, f"{request['content']!r} was answered with something else")
        for answers in ends.values():
            self.report(Kind.REPLY, f"nobody asked for {answers[0]['content']!r}")

    def _judge_witness(self, witness: Witness, messages: Iterable[Message]) -> None:
        there = {message["seq"]: message for message in messages}
        for seq, heard in witness.heard.items():
            message = there.get(seq)
            if message is None or (heard.id, heard.fingerprint) != (message["id"], fingerprint(message)):
                self.report(Kind.INVENTED, f"{witness.name}: {seq} ({heard.id}) is not stored so")
        if witness.connected and (missing := there.keys() - witness.heard.keys()):
            first = ", ".join(map(str, sorted(missing)[:5]))
            self.report(Kind.LOST, f"{witness.name}: {len(missing)} were not heard: {first} …")
