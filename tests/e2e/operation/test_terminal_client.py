"""`roomcast chat` as a person and a script use it: on a terminal, and through pipes."""

import asyncio
import fcntl
import os
import pty
import re
import struct
import sys
import termios
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from support.client_kinds import Register
from support.rest import PASSWORD, Person
from support.stack import COMMAND, ROOT, Stack

BOUND = 30.0
STEERING = re.compile(r"\x1b(\[[0-9;?]*[a-zA-Z]|[=>78])|\r")
ENV = {"PYTHONPATH": str(ROOT), "TERM": "xterm", "COLUMNS": "100"}

WHERE_IS_THE_CURSOR = b"\x1b[6n"
CURSOR_AT_TOP = b"\x1b[1;1R"


def command(stack: Stack, *more: str) -> list[str]:
    words = [sys.executable, *COMMAND, "chat", "--api-url", stack.api.url, "--gateway-url", stack.gateway.url]
    return [*words, *more]


def login(person: Person) -> list[str]:
    return ["--user", str(person.user["username"]), "--password", PASSWORD]


async def piped(stack: Stack, typed: str, *more: str) -> tuple[int | None, str, str]:
    """Runs the client on lines; its status, stdout and stderr."""
    client = await asyncio.create_subprocess_exec(
        *command(stack, *more), stdin=PIPE, stdout=PIPE, stderr=PIPE, env={**os.environ, **ENV}
    )
    async with asyncio.timeout(BOUND):
        out, err = await client.communicate(typed.encode())
    return client.returncode, out.decode(), err.decode()


class Terminal:
    """A pseudo-terminal: what was shown on it, and a keyboard."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._raw = b""
        self._shown = asyncio.Event()
        self.seen = 0

    @property
    def text(self) -> str:
        """All that was printed, without what steers the cursor."""
        return STEERING.sub("", self._raw.decode(errors="replace"))

    def read(self) -> None:
        try:
            new = os.read(self._fd, 65536)
        except OSError:  # the client has ended
            asyncio.get_running_loop().remove_reader(self._fd)
        else:
            self._raw += new
            os.write(self._fd, CURSOR_AT_TOP * new.count(WHERE_IS_THE_CURSOR))
        self._shown.set()

    async def type(self, text: str) -> None:
        await asyncio.sleep(
            0.3
        )  # while it prints, a terminal is not in raw mode; a person is never that fast
        os.write(self._fd, text.encode())

    async def until(self, text: str) -> str:
        """Returns once `text` was printed after what was waited for last; what was printed in between."""
        async with asyncio.timeout(BOUND):
            while (at := self.text.find(text, self.seen)) < 0:
                self._shown.clear()
                await self._shown.wait()
        between, self.seen = self.text[self.seen : at], at + len(text)
        return between


@asynccontextmanager
async def terminal(stack: Stack, *more: str) -> AsyncIterator[Terminal]:
    """The client on a terminal; it must end by itself, in good order."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 100, 0, 0))
    client = await asyncio.create_subprocess_exec(
        *command(stack, *more),
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        env={**os.environ, **ENV},
        start_new_session=True,
    )
    os.close(theirs)
    screen = Terminal(ours)
    asyncio.get_running_loop().add_reader(ours, screen.read)
    try:
        yield screen
        async with asyncio.timeout(BOUND):
            assert await client.wait() == 0, screen.text
    finally:
        if client.returncode is None:
            client.kill()
            await client.wait()
        asyncio.get_running_loop().remove_reader(ours)
        os.close(ours)


async def test_a_script_posts_and_gets_the_replies(stack: Stack, register: Register) -> None:
    """Lines in, messages out, each once; at the end of the input the replies are waited for."""
    ann = await register("ann")
    await ann.open_chat(title="Questions", assistant="always")
    status, out, err = await piped(
        stack, "first question\n/fail second\nthird\n", *login(ann), "--chat", "questions"
    )
    lines = out.splitlines()
    assert status == 0, err
    assert [line for line in lines if line.startswith("Ann: ")] == [
        "Ann: first question",
        "Ann: /fail second",
        "Ann: third",
    ]
    replies = [line for line in lines if line.startswith("assistant: ")]
    assert len(replies) == 2
    assert "first question" in replies[0]
    assert "third" in replies[1]
    assert sum(line.startswith("system: ") for line in lines) == 1
    assert len(lines) == 6


async def test_a_script_can_answer_the_questions(stack: Stack, register: Register) -> None:
    """Name, password, chat, then messages; the title of a new chat where there is none."""
    ben = await register("ben")
    answers = f"{ben.user['username']}\n{PASSWORD}\nNew chat\n\noff\nhello to nobody\n:who\n"
    status, out, err = await piped(stack, answers)
    assert status == 0, err
    assert out.splitlines() == ["Ben: hello to nobody"]
    [chat] = (await ben.get("/api/chat"))["items"]
    assert (chat["title"], chat["assistant"], chat["lastSeq"]) == ("New chat", "off", 1)


async def test_what_goes_wrong_is_said(stack: Stack, register: Register) -> None:
    """On stderr, in words, with a status that is not 0."""
    ann = await register("ann")
    await ann.open_chat(title="Only one")
    for more, said in (
        (["--user", "nobody-at-all", "--password", "wrong password"], "password"),
        ([*login(ann), "--chat", "Another"], "'Only one'"),
        ([*login(ann)], "--chat"),
    ):
        status, out, err = await piped(stack, "", *more)
        assert (status, out) == (1, "")
        assert said in err
        assert "Traceback" not in err


async def test_reading_marks_as_read(stack: Stack, register: Register) -> None:
    """A message that was shown is not unread any more."""
    ann, ben = await register("ann"), await register("ben")
    chat_id = await ann.open_chat(ben, title="News")
    await ann.say_all(chat_id, ["one", "two"])
    assert (await ben.get("/api/chat"))["items"][0]["unread"] == 2
    status, out, _ = await piped(stack, "", *login(ben), "--chat", "News")
    assert (status, out.splitlines()) == (0, ["Ann: one", "Ann: two"])
    assert (await ben.get("/api/chat"))["items"][0]["unread"] == 0


async def test_a_person_sees_others_live(stack: Stack, register: Register) -> None:
    """Typing, messages, news of other chats; what is typed stays at the prompt meanwhile."""
    ann, ben = await register("ann"), await register("ben")
    chat_id = await ann.open_chat(ben, title="Lunch")
    async with terminal(stack, *login(ann), "--chat", "Lunch") as at_ann:
        await at_ann.until("── Lunch ── Ann, Ben")
        async with terminal(stack, *login(ben), "--chat", "Lunch") as at_ben:
            await at_ben.until("── Lunch ── Ann, Ben")
            await asyncio.sleep(1)  # both are in the room
            await at_ben.type("where do ")
            await at_ann.until("Ben is typing")
            await at_ben.type("we eat?\r")
            await at_ann.until("Ben  where do we eat?")
            await ann.say(chat_id, "here")
            await at_ben.until("Ann  here")
            await ann.open_chat(ben, title="Dinner")
            await at_ben.until(":open Dinner")
            await at_ben.type("\x04")
        await at_ann.type(":quit\r")


async def test_a_person_sees_the_reply_as_it_is_written(stack: Stack, register: Register) -> None:
    """Word by word, then whole, once."""
    ann = await register("ann")
    await ann.open_chat(title="Stories", assistant="always")
    async with terminal(stack, *login(ann)) as screen:
        await screen.until("Which chat?")
        await screen.type("1\r")
        await screen.until("── Stories ──")
        await asyncio.sleep(0.5)
        await screen.type("/slow once upon a time\r")
        await screen.until("is thinking")
        await screen.until("demo")
        assert "You wrote" not in screen.text
        await screen.until("no model was asked. You wrote: /slow once upon a time")
        await screen.type("\x04")


async def test_ctrl_c_ends_the_reply_and_again_has_another(stack: Stack, register: Register) -> None:
    """The text so far stays, marked; a second Ctrl-C, with nothing being written, ends the client."""
    ann = await register("ann")
    await ann.open_chat(title="Stories", assistant="always")
    async with terminal(stack, *login(ann), "--chat", "Stories") as screen:
        await screen.until("── Stories ──")
        await asyncio.sleep(0.5)
        await screen.type(":again\r")
        await screen.until("has said nothing")
        await screen.type("/slow once upon a time\r")
        await screen.until("demo")
        await screen.type("\x03")
        await screen.until("(cancelled)")
        assert "no model was asked. You wrote: /slow once" not in screen.text
        await screen.type(":again\r")
        await screen.until("is thinking")
        await screen.until("demo")
        await screen.type(":stop\r")
        await screen.until("(cancelled)")
        await screen.type("\x03")


async def test_a_new_person_registers(stack: Stack, register: Register) -> None:
    """A name that nobody has becomes a login, when one wants it to."""
    someone = await register("dan")
    async with terminal(stack, "--user", f"{someone.user['username']}-2") as screen:
        await screen.until("Password:")
        await screen.type("a new password\r")
        await screen.until("Register")
        await screen.type("y\r")
        await screen.until("Logged in as")
        await screen.until("Title of a new chat:")
        assert "a new password" not in screen.text
        await screen.type("Diary\r")
        await screen.until("Members")
        await screen.type("\r")
        await screen.until("Assistant")
        await screen.type("off\r")
        await screen.until("── Diary ──")
        await screen.type("dear diary\r")
        await screen.until("dear diary")
        await asyncio.sleep(0.5)
        await screen.type(":quit\r")
