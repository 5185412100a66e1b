"""Keeps one chat on the screen: its members, its messages, the reply being written."""

import re
from collections.abc import Callable
from typing import Any, Final, assert_never

from roomcast.chat.conversation.people import People
from roomcast.chat.conversation.reply import LiveReply
from roomcast.chat.conversation.timeline import Timeline
from roomcast.chat.models import Chat, Chunk, Joined, Member, Message, Status, User
from roomcast.chat.screens.screen import Kind, Screen

ASSISTANT: Final = "assistant"

_MENTION: Final = re.compile(r"(?<!\w)@assistant(?!\w)", re.IGNORECASE)


class Conversation:
    """A chat on the screen, as it is opened and as it goes on.

    Attributes:
        awaited: ids of the messages that one posted and the assistant has yet to answer.
        progressed: called whenever something of the chat arrived.
        last_reply: the id of the assistant's latest message; None when none was shown.
    """

    def __init__(self, chat: Chat, me: User, screen: Screen) -> None:
        self.chat = chat
        self.awaited: set[str] = set()
        self.progressed: Callable[[], None] = lambda: None
        self._me = me
        self._screen = screen
        self._people = People(chat.members, me.id)
        self._timeline = Timeline(chat.msgs[0].seq - 1 if chat.msgs else chat.last_seq)
        self._reply = LiveReply()
        self._answered: set[str] = set()
        self.last_reply: str | None = None

    @property
    def chat_id(self) -> str:
        """Returns the chat's id."""
        return self.chat.id

    @property
    def last_seq(self) -> int:
        """Returns the `seq` up to which every message has been shown."""
        return self._timeline.last_seq

    @property
    def gap(self) -> bool:
        """Returns whether messages wait for one that has not arrived."""
        return self._timeline.gap

    @property
    def writing(self) -> str | None:
        """Returns the id of the reply being written; None for none."""
        return self._reply.writing

    @property
    def members(self) -> list[tuple[str, bool]]:
        """Returns the members' names, and whether each is online."""
        return self._people.members

    def open(self) -> None:
        """Shows the chat's head and its last messages."""
        self._screen.notice(f"── {self.chat.title} ── {', '.join(name for name, _ in self.members)}")
        self.add(*self.chat.msgs)
        self._reply.resume(self.chat.reply)
        self.refresh()

    def add(self, *messages: Message) -> None:
        """Shows those that are new, each when its turn has come."""
        self._show_all(self._timeline.add(messages))

    def posted(self, message: Message) -> None:
        """Adds a message that one posted oneself."""
        wants = self.chat.assistant == "always" or (
            self.chat.assistant == "mention" and _MENTION.search(message.content) is not None
        )
        if wants and message.id not in self._answered:
            self.awaited.add(message.id)
        self.add(message)

    def joined(self, joined: Joined) -> None:
        """Adds what was missed; the reply being written may have gone on, or be over."""
        self._people.online(joined.online)
        self._show_all(self._timeline.resume(joined.missed, joined.last_seq))
        if not joined.has_more:
            self._reply.resume(joined.reply)
        self.refresh()

    def received(self, event: str, payload: Any) -> None:
        """Handles an event of this chat's room; ignores others."""
        if not isinstance(payload, dict) or payload.get("chatId") != self.chat_id:
            return
        match event:
            case "new-msg":
                self.add(Message.model_validate(payload))
            case "msg-updated" | "msg-deleted":
                self._changed(Message.model_validate(payload))
            case "ai-chunk":
                self._reply.add(Chunk.model_validate(payload))
            case "ai-status":
                self._status(Status.model_validate(payload))
            case _:
                self._about_people(event, payload)
        self.progressed()
        self.refresh()

    def renamed(self, chat: Chat) -> None:
        """Applies what was changed of the chat itself."""
        if chat.title != self.chat.title:
            self._screen.notice(f"The chat is called {chat.title} now.")
        self.chat = self.chat.model_copy(update={"title": chat.title, "assistant": chat.assistant})

    def refresh(self) -> None:
        """Brings the live part of the screen to what is true now."""
        doing = [f"{name} is typing …" for name in self._people.typists()]
        if self._reply.doing:
            doing.append(f"{ASSISTANT} {self._reply.doing}")
        self._screen.status("   ".join(doing))
        self._screen.live(f"{ASSISTANT}  {self._reply.content}" if self._reply.content else "")

    def _show_all(self, messages: list[Message]) -> None:
        for message in messages:
            self._settle(message)
            self._show(message)
        self.progressed()

    def _show(self, message: Message) -> None:
        text = "(deleted)" if message.deleted_at else message.content
        if (message.metadata or {}).get("cancelled"):
            text = f"{text} (cancelled)".lstrip()
        if message.role == "AI":
            self.last_reply = message.id
        author, kind = self._author(message)
        self._screen.message(author, text, kind=kind, time=message.time)

    def _author(self, message: Message) -> tuple[str, Kind]:
        match message.role:
            case "AI":
                return ASSISTANT, "assistant"
            case "SYSTEM":
                return "system", "system"
            case "USER":
                if message.user_id == self._me.id:
                    return self._me.display_name, "own"
                return self._people.name(message.user_id), "other"
            case _:
                assert_never(message.role)

    def _settle(self, message: Message) -> None:
        """Notes what a message ends: its author's typing, a reply, the wait for an answer."""
        self._people.wrote(message.user_id)
        if message.role != "USER":
            self._reply.whole(message)
            self._mark_answered(message.reply_to)
            self.refresh()

    def _mark_answered(self, message_id: str | None) -> None:
        if message_id is not None:
            self._answered.add(message_id)
            self.awaited.discard(message_id)

    def _changed(self, message: Message) -> None:
        if message.seq > self.last_seq:
            return
        author, _ = self._author(message)
        what = "deleted a message" if message.deleted_at else f"changed a message: {message.content}"
        self._screen.notice(f"{author} {what}")

    def _status(self, status: Status) -> None:
        self._reply.status(status)
        if status.status == "failed":
            self._mark_answered(status.reply_to)

    def _about_people(self, event: str, payload: dict[str, Any]) -> None:
        news = ""
        match event:
            case "typing":
                self._people.typing(payload)
            case "presence":
                self._people.presence(payload)
            case "member-added":
                news = self._people.added(Member.model_validate(payload))
            case "member-removed":
                news = self._people.removed(str(payload.get("userId")))
            case _:
                pass  # of a later version, or of no interest here
        if news:
            self._screen.notice(news)
