"""Who is in a chat, who is there, who is typing."""

from collections.abc import Iterable
from time import monotonic
from typing import Any, Final

from roomcast.chat.models import Member

TYPING_SECONDS: Final = 6.0
"""For how long a sign of typing counts."""


class People:
    """The members of one chat, as one of them sees them."""

    def __init__(self, members: Iterable[Member], me: str) -> None:
        self._names = {member.user_id: member.display_name for member in members}
        self._me = me
        self._online: frozenset[str] = frozenset()
        self._typists: dict[str, tuple[str, float]] = {}

    @property
    def members(self) -> list[tuple[str, bool]]:
        """The members' names in order, and whether each is online."""
        return sorted((name, user_id in self._online) for user_id, name in self._names.items())

    def name(self, user_id: str | None) -> str:
        """What to call a user."""
        return self._names.get(user_id or "", "someone")

    def added(self, member: Member) -> str:
        """What is new about it; "" for nothing."""
        if self._names.get(member.user_id) == member.display_name:
            return ""
        self._names[member.user_id] = member.display_name
        return f"{member.display_name} was added."

    def removed(self, user_id: str) -> str:
        """What is new about it; "" for nothing."""
        name = self._names.pop(user_id, None)
        return f"{name} is no member any more." if name is not None else ""

    def online(self, user_ids: Iterable[str]) -> None:
        """Takes who is there now."""
        self._online = frozenset(user_ids)

    def presence(self, payload: dict[str, Any]) -> None:
        """Takes a `presence` event."""
        user = {str(payload.get("userId"))}
        self._online = self._online | user if payload.get("online") else self._online - user

    def typing(self, payload: dict[str, Any]) -> None:
        """Takes a `typing` event."""
        user_id = str(payload.get("userId"))
        self._typists.pop(user_id, None)
        if payload.get("isTyping") and user_id != self._me:
            self._typists[user_id] = (str(payload.get("name")), monotonic() + TYPING_SECONDS)

    def wrote(self, user_id: str | None) -> None:
        """This one is done typing."""
        self._typists.pop(user_id or "", None)

    def typists(self) -> list[str]:
        """The names of those who are typing now."""
        now = monotonic()
        return [name for name, until in self._typists.values() if until > now]
