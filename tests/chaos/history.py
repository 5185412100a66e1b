"""The history of a run: what was posted, answered and heard, and the judgement on it.

The rules are those of the contract: a 201 reaches every member that is connected at the end, once after
dropping known ids, in `seq` order without a hole; nothing is heard that is not stored; whatever may have been
missed is signalled before a later message is heard; each request to the assistant ends once.
"""

import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from chaos.witness import Kind, Message, Witness, fingerprint


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
        """Counts the violations of each kind."""
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
