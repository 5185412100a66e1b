"""A chat's messages, put in order as they arrive in any order and repeat."""

from collections.abc import Iterable

from roomcast.chat.models import Message


class Timeline:
    """Gives out each message once, in `seq` order, without holes.

    Attributes:
        last_seq: every message up to this one has been given out.
    """

    def __init__(self, last_seq: int = 0) -> None:
        self.last_seq = last_seq
        self._early: dict[int, Message] = {}

    @property
    def gap(self) -> bool:
        """Whether messages wait for one that has not arrived."""
        return bool(self._early)

    def add(self, messages: Iterable[Message]) -> list[Message]:
        """Takes messages; returns those whose turn it is now."""
        for message in messages:
            if message.seq > self.last_seq:
                self._early[message.seq] = message
        due: list[Message] = []
        while (following := self._early.pop(self.last_seq + 1, None)) is not None:
            self.last_seq += 1
            due.append(following)
        return due
