"""Puts a chat's messages in order, as they arrive in any order and repeat."""

from collections.abc import Iterable, Sequence

from roomcast.chat.models import Message


class Timeline:
    """A reorder buffer: gives out each message once, in `seq` order, without holes.

    Attributes:
        last_seq: every message up to this one has been given out.
    """

    def __init__(self, last_seq: int = 0) -> None:
        self.last_seq = last_seq
        self._early: dict[int, Message] = {}

    @property
    def gap(self) -> bool:
        """Returns whether messages wait for one that has not arrived."""
        return bool(self._early)

    def resume(self, messages: Sequence[Message], last_seq: int) -> list[Message]:
        """Adds what the API tells of the messages above those that are here; `last_seq` is the chat's.

        What is before the first of them is not kept any more, or here already.
        """
        self.last_seq = max(self.last_seq, messages[0].seq - 1 if messages else last_seq)
        self._early = {seq: message for seq, message in self._early.items() if seq > self.last_seq}
        return self.add(messages)

    def add(self, messages: Iterable[Message]) -> list[Message]:
        """Adds messages; returns those whose turn it is now."""
        for message in messages:
            if message.seq > self.last_seq:
                self._early[message.seq] = message
        due: list[Message] = []
        while (following := self._early.pop(self.last_seq + 1, None)) is not None:
            self.last_seq += 1
            due.append(following)
        return due
