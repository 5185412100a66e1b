"""Runs the terminal client: one person, one socket, one open chat at a time."""

import asyncio
from contextlib import suppress
from typing import Any, Final

import aiohttp

from roomcast.chat.commands import command_in, run_command
from roomcast.chat.connection.account import Account
from roomcast.chat.connection.link import Link
from roomcast.chat.connection.outbox import Outbox
from roomcast.chat.connection.rest import ChatError
from roomcast.chat.connection.typing_signs import TypingSigns
from roomcast.chat.conversation.conversation import Conversation
from roomcast.chat.conversation.people import TYPING_SECONDS
from roomcast.chat.models import Chat, Joined, Message
from roomcast.chat.screens.screen import Screen

GAP_SECONDS: Final = 1.0
"""How long a message may wait for the one before it until that is asked for."""
READ_SECONDS: Final = 1.0
"""How often at most the API is told what was read."""
SEND_SECONDS: Final = 60.0
"""For how long an end waits for posts that have not arrived."""
REPLY_SECONDS: Final = 30.0
"""For how long an end waits for a reply that does not get on."""


class Client:
    """A client that shows a chat and posts what is typed."""

    def __init__(
        self, http: aiohttp.ClientSession, gateway_url: str, account: Account, screen: Screen
    ) -> None:
        self.account = account
        self.screen = screen
        self.conversation: Conversation | None = None
        self.listed: list[Chat] = []
        self._link = Link(http, gateway_url, account, self)
        self._outbox = Outbox(account, sent=self._sent, notice=screen.notice)
        self._typing = TypingSigns(self._send_typing)
        self._progress = asyncio.Event()
        self._unread = asyncio.Event()
        self._read: dict[str, int] = {}
        self._trouble = ""
        screen.on_typing(self._typing.typed)
        screen.on_interrupt(self._interrupted)

    async def run(self, chat_id: str) -> int:
        """Opens a chat and goes on until the person, or stdin, ends it; returns the exit status.

        Raises:
            ChatError: it cannot go on.
        """
        try:
            async with asyncio.TaskGroup() as group:
                await self.open(chat_id)
                duties = (
                    self.account.keep_fresh,
                    self._link.run,
                    self._outbox.run,
                    self._typing.run,
                    self._send_read,
                )
                tasks = [group.create_task(duty()) for duty in duties]
                async for line in self.screen.lines():
                    if not await self._handle(line):
                        break
                status = await self._finish()
                for task in tasks:
                    task.cancel()
        except ExceptionGroup as group_error:
            raise _only(group_error) from group_error
        return status

    async def open(self, chat_id: str) -> None:
        """Shows another chat from now on.

        Raises:
            ChatError: it cannot be read.
        """
        chat = Chat.model_validate(await self.account.call("GET", f"/api/chat/{chat_id}"))
        self.conversation = Conversation(chat, self.account.user, self.screen)
        self.conversation.progressed = self._progressed
        self.conversation.open()
        self._link.follow(self.conversation)

    def joined(self, chat_id: str, joined: Joined) -> None:
        """Shows what was missed, of the open chat."""
        if self.conversation is not None and self.conversation.chat_id == chat_id:
            self.conversation.joined(joined)

    def shut_out(self, chat_id: str) -> None:
        """Closes the open chat where that is the one."""
        if self.conversation is not None and self.conversation.chat_id == chat_id:
            self.screen.notice("This chat is gone, or you are no member any more. :chats lists yours.")
            self.screen.live("")
            self.conversation = None
            self._link.follow(None)
            self._progress.set()

    def link_changed(self, trouble: str) -> None:
        """Shows a new trouble of the socket, and its end."""
        if trouble and trouble != self._trouble:
            self.screen.notice(trouble)
        elif self._trouble and not trouble:
            self.screen.notice("Connected again.")
        self._trouble = trouble

    def received(self, event: str, payload: Any) -> None:
        """Handles an event: of chats here, of the open chat in the conversation."""
        if not isinstance(payload, dict):
            return
        match event:
            case "chat-deleted":
                self.shut_out(str(payload.get("id")))
            case "member-removed" if payload.get("userId") == self.account.user.id:
                self.shut_out(str(payload.get("chatId")))
            case "chat-created":
                self._created(Chat.model_validate(payload))
            case "chat-updated":
                self._updated(Chat.model_validate(payload))
            case _:
                self._in_chat(event, payload)

    def _created(self, chat: Chat) -> None:
        if chat.owner_id != self.account.user.id:
            self.screen.notice(f"You are in the chat {chat.title} now; :open {chat.title}")

    def _updated(self, chat: Chat) -> None:
        if self.conversation is not None and self.conversation.chat_id == chat.id:
            self.conversation.renamed(chat)

    def _in_chat(self, event: str, payload: dict[str, Any]) -> None:
        if self.conversation is not None:
            self.conversation.received(event, payload)
        if event == "typing":
            asyncio.get_running_loop().call_later(TYPING_SECONDS, self._refresh)

    def _refresh(self) -> None:
        if self.conversation is not None:
            self.conversation.refresh()

    def _sent(self, message: Message) -> None:
        if self.conversation is not None and self.conversation.chat_id == message.chat_id:
            self.conversation.posted(message)

    def _progressed(self) -> None:
        self._progress.set()
        self._unread.set()
        if self.conversation is not None and self.conversation.gap:
            asyncio.get_running_loop().call_later(GAP_SECONDS, self._mend)

    def _mend(self) -> None:
        if self.conversation is not None and self.conversation.gap:
            self._link.catch_up()

    def _interrupted(self) -> str | None:
        """Returns the line that Ctrl-C stands for: it ends the reply being written, else the client."""
        return ":stop" if self.conversation is not None and self.conversation.writing is not None else None

    async def _handle(self, line: str) -> bool:
        """Runs a command or posts a message; returns whether to go on."""
        self._typing.typed("")
        command = command_in(line)
        if command is not None:
            return await run_command(self, *command)
        if not line.strip():
            return True
        if self.conversation is None:
            self.screen.notice("Not sent: no chat is open. :chats lists yours.")
            self._outbox.failed = True
        else:
            self._outbox.post(self.conversation.chat_id, line[1:] if line.startswith("::") else line)
        return True

    async def _send_typing(self, is_typing: bool) -> None:  # noqa: FBT001  # the one thing that is told
        if self.conversation is not None:
            await self._link.typing(self.conversation.chat_id, is_typing=is_typing)

    async def _send_read(self) -> None:
        while True:
            await self._unread.wait()
            self._unread.clear()
            await self._mark_read()
            await asyncio.sleep(READ_SECONDS)

    async def _mark_read(self) -> None:
        conversation = self.conversation
        if conversation is None or conversation.last_seq <= self._read.get(conversation.chat_id, 0):
            return
        seq = conversation.last_seq
        with suppress(ChatError):  # the next message tells it again
            await self.account.call("POST", f"/api/chat/{conversation.chat_id}/read", {"seq": seq})
            self._read[conversation.chat_id] = seq

    async def _finish(self) -> int:
        """Waits for what was posted, and through pipes for its replies; returns the exit status."""
        try:
            async with asyncio.timeout(SEND_SECONDS):
                await self._outbox.drained()
        except TimeoutError:
            self.screen.notice(f"Gave up: not everything was sent within {SEND_SECONDS:g} s.")
            return 1
        if not self.screen.interactive and not await self._answered():
            self.screen.notice(f"Gave up: no reply got on within {REPLY_SECONDS:g} s.")
            return 1
        await self._mark_read()
        return int(self._outbox.failed)

    async def _answered(self) -> bool:
        """Returns when nothing that was posted waits for a reply, or when it would wait in vain."""
        asked = False
        while (conversation := self.conversation) is not None and (conversation.awaited or conversation.gap):
            self._progress.clear()
            try:
                async with asyncio.timeout(REPLY_SECONDS):
                    await self._progress.wait()
                asked = False
            except TimeoutError:
                if asked:
                    return False
                asked = True
                await self._sync(conversation)
        return True

    async def _sync(self, conversation: Conversation) -> None:
        """Asks the API what the gateway may not have brought."""
        path = f"/api/chat/{conversation.chat_id}/sync"
        with suppress(ChatError):
            answer = await self.account.call("GET", path, afterSeq=conversation.last_seq)
            conversation.joined(Joined.model_validate(answer))


def _only(group: ExceptionGroup[Exception]) -> Exception:
    """Returns the one trouble to tell the person about; the group itself where more is wrong."""
    troubles, others = group.split(ChatError)
    if troubles is None or others is not None:
        return group
    trouble: Exception = troubles
    while isinstance(trouble, ExceptionGroup):
        trouble = trouble.exceptions[0]
    return trouble
