"""The terminal client's view of a chat: what it shows, and what it does not."""

import asyncio
import io
from typing import Any

import pytest

from roomcast.chat.commands import command_in
from roomcast.chat.connection.typing_signs import TypingSigns
from roomcast.chat.conversation.conversation import Conversation
from roomcast.chat.lobby import find_chat
from roomcast.chat.models import Chat, Joined, Message, User
from roomcast.chat.screens.plain import PlainScreen
from roomcast.chat.screens.screen import visible
from roomcast.chat.screens.terminal import tail

ME = User(id="ann", displayName="Ann")


def message(
    seq: int, content: str = "text", role: str = "USER", user: str | None = "ben", **more: Any
) -> dict[str, Any]:
    fields = {"id": f"m{seq}", "chatId": "c", "seq": seq, "role": role, "userId": user, "content": content}
    return {**fields, "time": "2026-11-21T09:30:00.123Z", **more}


def chat(**more: Any) -> Chat:
    fields: dict[str, Any] = {
        "id": "c",
        "title": "A chat",
        "ownerId": "ann",
        "assistant": "always",
        "lastSeq": 0,
    }
    members = [
        {"userId": "ann", "displayName": "Ann", "role": "owner"},
        {"userId": "ben", "displayName": "Ben", "role": "member"},
    ]
    return Chat.model_validate({**fields, "members": members, **more})


class Shown:
    """A plain screen that keeps what it prints."""

    def __init__(self, typed: str = "") -> None:
        self.out = io.StringIO()
        self.err = io.StringIO()
        self.screen = PlainScreen(io.StringIO(typed), self.out, self.err)

    @property
    def messages(self) -> list[str]:
        return self.out.getvalue().splitlines()


@pytest.fixture
async def shown() -> Shown:
    return Shown()


def conversation_on(shown: Shown, **more: Any) -> Conversation:
    return Conversation(chat(**more), ME, shown.screen)


async def test_messages_are_shown_once_in_order_with_their_authors(shown: Shown) -> None:
    """From opening, joining, events and one's own posts alike."""
    conversation = conversation_on(
        shown, msgs=[message(4, "four"), message(5, "five", user="ann")], lastSeq=5
    )
    conversation.open()
    conversation.received("new-msg", message(7, "seven", "SYSTEM", None))
    assert conversation.gap
    conversation.joined(Joined.model_validate({"lastSeq": 7, "missed": [message(6, "six", "AI", None)]}))
    conversation.received("new-msg", message(7, "seven", "SYSTEM", None))
    conversation.posted(Message.model_validate(message(8, "eight", user="ann")))
    conversation.received("new-msg", message(9, "elsewhere", chatId="another"))
    assert shown.messages == [
        "Ben: four",
        "Ann: five",
        "assistant: six",
        "system: seven",
        "Ann: eight",
    ]


@pytest.mark.parametrize(
    ("assistant", "content", "awaited"),
    [
        ("always", "hello", True),
        ("mention", "hello", False),
        ("mention", "hello @Assistant!", True),
        ("mention", "mail me@assistants.example", False),
        ("off", "@assistant", False),
    ],
)
async def test_a_reply_is_awaited_where_one_will_come(
    shown: Shown, assistant: str, content: str, awaited: bool
) -> None:
    """So that a script ends neither too early nor too late."""
    conversation = conversation_on(shown, assistant=assistant)
    conversation.posted(Message.model_validate(message(1, content, user="ann")))
    assert conversation.awaited == ({"m1"} if awaited else set())


async def test_a_reply_or_a_failure_ends_the_wait(shown: Shown) -> None:
    """Even when it is here before the answer to the post."""
    conversation = conversation_on(shown)
    conversation.posted(Message.model_validate(message(1, user="ann")))
    conversation.received("new-msg", message(2, "reply", "AI", None, replyTo="m1"))
    conversation.received("ai-status", {"chatId": "c", "replyId": "r", "replyTo": "m3", "status": "failed"})
    conversation.posted(Message.model_validate(message(3, user="ann")))
    assert conversation.awaited == set()


async def test_changes_and_deletions_are_told(shown: Shown) -> None:
    """Of messages that were shown."""
    conversation = conversation_on(shown)
    conversation.received("new-msg", message(1, "helo"))
    conversation.received("msg-updated", message(1, "hello", editedAt="2026-11-21T09:30:00.123Z"))
    conversation.received("msg-deleted", message(1, "", deletedAt="2026-11-21T09:30:00.123Z"))
    conversation.received("msg-updated", message(9, "not shown"))
    assert shown.err.getvalue().splitlines() == ["* Ben changed a message: hello", "* Ben deleted a message"]


async def test_a_message_cannot_steer_the_terminal(shown: Shown) -> None:
    """Escapes, carriage returns and changes of direction show as what they are: nothing readable."""
    conversation = conversation_on(shown)
    conversation.received("new-msg", message(1, "\x1b[2Jgone\rBob: \u202etxt\x07\x9b1m\r\nnext\tline"))
    assert shown.messages == ["Ben: \ufffd[2Jgone\ufffdBob: \ufffdtxt\ufffd\ufffd1m", "  next\tline"]
    assert visible("plain 🙂 text") == "plain 🙂 text"


@pytest.mark.parametrize(
    ("line", "command"),
    [
        (":help", ("help", "")),
        (" :open The chat ", ("open", "The chat")),
        (":)", None),
        (":-P", None),
        ("::help", None),
        ("/time", None),
        (":smile: hello", None),
        ("at 10:30", None),
    ],
)
def test_only_a_colon_and_a_word_is_a_command(line: str, command: tuple[str, str] | None) -> None:
    """Everything else is for the chat, the assistant's commands included."""
    assert command_in(line) == command


def test_a_chat_is_found_by_id_title_or_number() -> None:
    """The exact title before the same in another case, both before a number."""
    chats = [chat(id="1a", title="Lunch"), chat(id="2b", title="lunch"), chat(id="3c", title="1")]
    for text, found in (("2b", "2b"), ("lunch", "2b"), ("LUNCH", "1a"), ("1", "3c"), ("2", "2b")):
        chosen = find_chat(chats, text)
        assert chosen is not None
        assert chosen.id == found
    assert find_chat(chats, "4") is None
    assert find_chat(chats, "0") is None
    assert find_chat(chats, "") is None


def test_the_end_of_a_long_reply_stays_visible() -> None:
    """The reply being written never pushes the prompt off the terminal."""
    assert tail("short", 80, 24) == "short"
    lines = tail("x" * 8000, 80, 24).split("\n")
    assert len(lines) == 19
    assert lines[0] == "…"
    assert all(len(line) <= 80 for line in lines)
    assert tail("a\nb\nc", 80, 6) == "c"


async def test_answers_and_lines_come_from_one_input() -> None:
    """A script answers the questions, then speaks; its end is an end."""
    screen = Shown("ann\n pass word \nhello\n\nlast line").screen
    assert await screen.ask("Username:") == "ann"
    assert await screen.ask("Password:", secret=True) == " pass word "
    assert [line async for line in screen.lines()] == ["hello", "", "last line"]


async def test_a_question_without_an_answer_is_an_end() -> None:
    """Again and again."""
    screen = Shown("").screen
    for _ in range(2):
        with pytest.raises(EOFError):
            await screen.ask("Username:")


async def test_typing_is_told_soon_seldom_and_taken_back() -> None:
    """Once while keys follow each other, again while they go on, and off with the message."""
    told: list[bool] = []
    changed = asyncio.Event()

    async def tell(is_typing: bool) -> None:
        told.append(is_typing)
        changed.set()

    signs = TypingSigns(tell, repeat_seconds=0.05)
    task = asyncio.create_task(signs.run())
    for text in ("h", "he", "hel"):
        signs.typed(text)
    await changed.wait()
    signs.typed("hell")
    signs.typed("")
    while told[-1]:
        changed.clear()
        await changed.wait()
    assert told == [True, False]
    signs.typed(":quit")
    signs.typed("pause")
    while told.count(False) < 2:
        changed.clear()
        await changed.wait()
    assert told == [True, False, True, False]
    task.cancel()
    await asyncio.wait({task})
