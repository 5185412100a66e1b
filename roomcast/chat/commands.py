"""Runs the terminal client's own commands: lines that begin with a colon."""

import re
from collections.abc import Awaitable, Callable
from typing import Final, Protocol

from roomcast.chat.connection.account import Account
from roomcast.chat.connection.rest import ChatError
from roomcast.chat.conversation.conversation import Conversation
from roomcast.chat.lobby import find_chat, find_user, load_chats, new_chat, show_chats
from roomcast.chat.models import Chat
from roomcast.chat.screens.screen import Screen

_COMMAND: Final = re.compile(r":([a-z]+)(?:\s+(.*))?", re.DOTALL)


class Host(Protocol):
    """The client that commands are given to."""

    @property
    def account(self) -> Account:
        """Returns the account that is logged in."""

    @property
    def screen(self) -> Screen:
        """Returns the screen to answer on."""

    @property
    def conversation(self) -> Conversation | None:
        """Returns the open chat."""

    listed: list[Chat]
    """The chats as they were listed last, which is what numbers mean."""

    async def open(self, chat_id: str) -> None:
        """Opens another chat."""


async def _help(host: Host, _: str) -> None:
    for name, (usage, what, _handler) in COMMANDS.items():
        host.screen.notice(f":{name} {usage}".ljust(16) + what)
    host.screen.notice("Anything else is sent; a line that shall begin with a colon: type two.")


async def _chats(host: Host, _: str) -> None:
    host.listed = await load_chats(host.account)
    show_chats(host.screen, host.listed)
    host.screen.notice(":open and a number or title opens one")


async def _open(host: Host, wanted: str) -> None:
    found = find_chat(host.listed, wanted) or find_chat(await load_chats(host.account), wanted)
    if found is None:
        raise ChatError(f"There is no chat {wanted!r}; :chats lists yours.")
    await host.open(found.id)


async def _new(host: Host, title: str) -> None:
    chat_id = await new_chat(host.account, host.screen, title)
    if chat_id is not None:
        await host.open(chat_id)


async def _add(host: Host, username: str) -> None:
    if host.conversation is None:
        raise ChatError("No chat is open.")
    user = await find_user(host.account, username)
    if user is None:
        raise ChatError(f"There is no user {username!r}.")
    path = f"/api/chat/{host.conversation.chat_id}/members"
    await host.account.call("POST", path, {"userId": user.id})


async def _who(host: Host, _: str) -> None:
    for name, online in host.conversation.members if host.conversation else ():
        host.screen.notice(f"{'●' if online else '○'} {name}")


async def _stop(host: Host, _: str) -> None:
    if host.conversation is None or host.conversation.writing is None:
        raise ChatError("No reply is being written.")
    path = f"/api/chat/{host.conversation.chat_id}/replies/{host.conversation.writing}/cancel"
    await host.account.call("POST", path)


async def _again(host: Host, _: str) -> None:
    if host.conversation is None or host.conversation.last_reply is None:
        raise ChatError("The assistant has said nothing here.")
    path = f"/api/chat/{host.conversation.chat_id}/messages/{host.conversation.last_reply}/regenerate"
    await host.account.call("POST", path)


async def _quit(_host: Host, _: str) -> None:
    """Ends the client; see `run_command`."""


COMMANDS: Final[dict[str, tuple[str, str, Callable[[Host, str], Awaitable[None]]]]] = {
    "help": ("", "shows this", _help),
    "chats": ("", "lists your chats", _chats),
    "open": ("CHAT", "opens another chat, by number or title", _open),
    "new": ("[TITLE]", "makes a chat", _new),
    "add": ("USER", "adds a member, by username", _add),
    "who": ("", "shows who is in the chat, and online", _who),
    "stop": ("", "ends the reply that is being written (as Ctrl-C does)", _stop),
    "again": ("", "has the last reply written again", _again),
    "quit": ("", "ends (as Ctrl-D does)", _quit),
}


def command_in(line: str) -> tuple[str, str] | None:
    """Returns the command's name and the rest of the line; None when the line is a message, such as `:)`."""
    found = _COMMAND.fullmatch(line.strip())
    return (found[1], (found[2] or "").strip()) if found else None


async def run_command(host: Host, name: str, rest: str) -> bool:
    """Runs a command and says what goes wrong; returns whether the client goes on."""
    if name not in COMMANDS:
        host.screen.notice(f"There is no :{name}; :help lists what there is, two colons send the line.")
        return True
    try:
        await COMMANDS[name][2](host, rest)
    except ChatError as error:
        host.screen.notice(str(error))
    except EOFError:
        host.screen.notice("Never mind.")
    return name != "quit"
