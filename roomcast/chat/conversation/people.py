"""Keeps a chat's members: their names, and who is online or typing."""

from collections.abc import Iterable
from time import monotonic
from typing import Any, Final

from roomcast.chat.models import Member

TYPING_SECONDS: Final = 6.0
"""Seconds for which a sign of typing counts."""


class People:
    """The members of one chat, as one of them sees them."""

    def __init__(self, members: Iterable[Member], me: str) -> None:
        self._names = {member.user_id: member.display_name for member in members}
        self._me = me
        self._online: frozenset[str] = frozenset()
        self._typists: dict[str, tuple[str, float]] = {}

    @property
    def members(self) -> list[tuple[str, bool]]:
        """Returns the members' names in order, and whether each is online."""
        return sorted((name, user_id in self._online) for user_id, name in self._names.items())

    def name(self, user_id: str | None) -> str:
        """Returns the name of a user; "someone" for a stranger."""
        return self._names.get(user_id or "", "someone")

    def added(self, member: Member) -> str:
        """Adds a member; returns the news of it, "" for none."""
        if self._names.get(member.user_id) == member.display_name:
            return ""
        self._names[member.user_id] = member.display_name
        return f"{member.display_name} was added."

    def removed(self, user_id: str) -> str:
        """Removes a member; returns the news of it, "" for none."""
        name = self._names.pop(user_id, None)
        return f"{name} is no member any more." if name is not None else ""

    def online(self, user_ids: Iterable[str]) -> None:
        """Sets who is online now."""
        self._online = frozenset(user_ids)

    def presence(self, payload: dict[str, Any]) -> None:
        """Applies a `presence` event."""
        user = {str(payload.get("userId"))}
        self._online = self._online | user if payload.get("online") else self._online - user

    def typing(self, payload: dict[str, Any]) -> None:
        """Applies a `typing` event."""
        user_id = str(payload.get("userId"))
        self._typists.pop(user_id, None)
        if payload.get("isTyping") and user_id != self._me:
            self._typists[user_id] = (str(payload.get("name")), monotonic() + TYPING_SECONDS)

    def wrote(self, user_id: str | None) -> None:
        """Ends the typing of somebody who has written."""
        self._typists.pop(user_id or "", None)

    def typists(self) -> list[str]:
        """Returns the names of those who are typing now."""
        now = monotonic()
        return [name for name, until in self._typists.values() if until > now]
