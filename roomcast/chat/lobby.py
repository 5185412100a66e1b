"""Logs in, and chooses or makes a chat to open."""

from roomcast.chat.connection.account import Account
from roomcast.chat.connection.rest import ChatError, RefusedError, Rest
from roomcast.chat.models import Chat, User
from roomcast.chat.screens.screen import Screen, visible

SHOWN = 20
"""Chats in a list; the others are found by title."""
PREVIEW = 50
"""Characters of a chat's last message in a list."""
_MAX_PAGES = 20


async def log_in(rest: Rest, screen: Screen, username: str | None, password: str | None) -> Account:
    """Logs a user in; asks for what is missing, and offers to register who is not known.

    Raises:
        ChatError: not let in.
        EOFError: a question was not answered.
    """
    while True:
        name = username or await screen.ask("Username:")
        secret = password or await screen.ask("Password:", secret=True)
        try:
            return await Account.log_in(rest, name, secret)
        except RefusedError as error:
            if not screen.interactive or error.retry_after is not None:
                raise
            screen.notice(str(error))
        password = None
        answer = await screen.ask(f"Register {name!r} as a new user with this password? [y/N]")
        if answer.casefold() in {"y", "yes"}:
            try:
                return await Account.register(rest, name, secret)
            except RefusedError as error:
                screen.notice(str(error))
        username = None


async def load_chats(account: Account) -> list[Chat]:
    """Returns the user's chats, latest activity first.

    Raises:
        ChatError: they cannot be had.
    """
    chats: list[Chat] = []
    query: dict[str, str | int] = {"limit": 100}
    for _ in range(_MAX_PAGES):
        page = await account.call("GET", "/api/chat", **query)
        chats += map(Chat.model_validate, page["items"])
        if not page.get("nextCursor"):
            break
        query["cursor"] = page["nextCursor"]
    return chats


def show_chats(screen: Screen, chats: list[Chat]) -> None:
    """Lists chats, numbered from 1."""
    for number, chat in enumerate(chats[:SHOWN], start=1):
        unread = f" ({chat.unread} unread)" if chat.unread else ""
        screen.notice(f"{number:>3}  {chat.title}{unread}{_preview(chat)}")
    if len(chats) > SHOWN:
        screen.notice(f"     … and {len(chats) - SHOWN} more: type the title")


def find_chat(chats: list[Chat], text: str) -> Chat | None:
    """Returns the chat that `text` means: an id, a title, or the number in the list; titles in any case."""
    folded = text.strip().casefold()
    for chat in chats:
        if chat.id == folded or chat.title == text:
            return chat
    for chat in chats:
        if chat.title.casefold() == folded:
            return chat
    if folded.isdecimal() and 1 <= int(folded) <= len(chats):
        return chats[int(folded) - 1]
    return None


async def choose_chat(account: Account, screen: Screen, wanted: str | None) -> str:
    """Returns the id of the chat to open: the one wanted, else one that is chosen or made.

    Raises:
        ChatError: there is none as wanted, and nobody to choose another.
        EOFError: a question was not answered.
    """
    chats = await load_chats(account)
    if wanted is not None:
        found = find_chat(chats, wanted)
        if found is not None:
            return found.id
        titles = ", ".join(repr(chat.title) for chat in chats[:SHOWN]) or "none"
        text = f"You have no chat {wanted!r}. Your chats: {titles}."
        if not screen.interactive:
            raise ChatError(text)
        screen.notice(text)
    show_chats(screen, chats)
    while True:
        answer = await screen.ask(
            "Which chat? (number or title, or `new`)" if chats else "Title of a new chat:"
        )
        found = find_chat(chats, answer)
        if found is not None:
            return found.id
        if not chats or answer.casefold() in {"new", ":new"}:
            made = await new_chat(account, screen, answer if not chats else "")
            if made is not None:
                return made
        else:
            screen.notice(f"There is no chat {answer!r}.")


async def new_chat(account: Account, screen: Screen, title: str = "") -> str | None:
    """Makes a chat by what is answered; returns its id, None when it was refused.

    Raises:
        ChatError: the API does not answer.
        EOFError: a question was not answered.
    """
    title = title or await screen.ask("Title:")
    members = await _members(account, screen)
    answer = await screen.ask("Assistant answers (always, mention, off; nothing for the usual):")
    fields: dict[str, object] = {"title": title, "memberIds": [user.id for user in members]}
    if answer:
        fields["assistant"] = answer.casefold()
    try:
        return Chat.model_validate(await account.call("POST", "/api/chat", fields)).id
    except RefusedError as error:
        screen.notice(f"The chat was not made: {error}")
        return None


async def find_user(account: Account, username: str) -> User | None:
    """Returns the user of this name.

    Raises:
        ChatError: it cannot be looked up.
    """
    found = await account.call("GET", "/api/users", username=username)
    return User.model_validate(found["items"][0]) if found["items"] else None


async def _members(account: Account, screen: Screen) -> list[User]:
    while True:
        names = (await screen.ask("Members besides you (usernames, comma-separated):")).split(",")
        users: list[User] = []
        unknown: list[str] = []
        for name in filter(None, map(str.strip, names)):
            try:
                user = await find_user(account, name)
            except RefusedError:  # no name that a user can have
                user = None
            if user is None:
                unknown.append(name)
            else:
                users.append(user)
        if not unknown:
            return users
        screen.notice(f"There is no user {', '.join(unknown)}.")


def _preview(chat: Chat) -> str:
    if chat.last_message is None:
        return ""
    text = " ".join(visible(chat.last_message.content).split())
    return "  " + (text if len(text) <= PREVIEW else text[:PREVIEW] + "…")
