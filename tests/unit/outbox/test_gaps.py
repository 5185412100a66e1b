"""Gaps in the outbox: whether anything may still appear before the next events."""

import random
from collections.abc import Sequence

from chat_api.outbox.gaps import SequenceGaps


def look(gaps: SequenceGaps, positions: Sequence[int], *, oldest_running: int, next_transaction: int) -> None:
    if gaps.observe(positions, oldest_running=oldest_running):
        gaps.bound(next_transaction)


def test_what_follows_without_a_gap_is_next() -> None:
    gaps = SequenceGaps(7)
    look(gaps, [], oldest_running=100, next_transaction=100)
    look(gaps, [], oldest_running=100, next_transaction=100)
    assert gaps.is_next([8, 9])
    gaps.advance([8, 9])
    assert gaps.is_next([10])
    assert not gaps.is_next([])
    assert not gaps.is_next([11])
    assert not gaps.is_next([10, 12])


def test_nothing_is_next_before_those_have_ended_who_ran_at_the_first_look() -> None:
    gaps = SequenceGaps(7)
    look(gaps, [], oldest_running=90, next_transaction=100)
    look(gaps, [], oldest_running=99, next_transaction=101)
    assert not gaps.is_next([8])
    look(gaps, [], oldest_running=100, next_transaction=101)
    assert gaps.is_next([8])


def test_a_gap_is_closed_by_the_end_of_those_who_may_fill_it() -> None:
    gaps = SequenceGaps(0)
    look(gaps, [], oldest_running=5, next_transaction=5)
    look(gaps, [2], oldest_running=5, next_transaction=7)
    assert not gaps.is_next([3])
    look(gaps, [1], oldest_running=7, next_transaction=7)
    assert gaps.is_next([3])


class Outbox:
    """Transactions that take a position each, and commit, or are undone, whenever they like."""

    def __init__(self) -> None:
        self.next_transaction = 1
        self.position = 0
        self.running: dict[int, int] = {}
        self.seen: set[int] = set()

    def begin(self) -> None:
        self.position += 1
        self.running[self.next_transaction] = self.position
        self.next_transaction += 1

    def end(self, transaction: int, *, commits: bool) -> int:
        position = self.running.pop(transaction)
        if commits:
            self.seen.add(position)
        return position

    @property
    def oldest_running(self) -> int:
        return min(self.running, default=self.next_transaction)


def test_what_is_taken_as_next_never_has_anything_appear_before_it() -> None:
    """Random transactions, looks and offers; what is taken without a look is then the first there is."""
    taken_without_a_look = 0
    for seed in range(300):
        chance = random.Random(seed)
        outbox, gaps, taken = Outbox(), SequenceGaps(0), set[int]()
        after: list[int] = []
        for _ in range(200):
            if outbox.running and chance.random() < 0.6:
                ended = chance.choice([*outbox.running])
                position = outbox.end(ended, commits=chance.random() < 0.9)
                assert not after or position > max(after), "something appeared before what was taken as next"
                if position in outbox.seen and position not in taken and gaps.is_next([position]):
                    gaps.advance([position])
                    taken.add(position)
                    after.append(position)
                    taken_without_a_look += 1
            elif chance.random() < 0.7 and len(outbox.running) < 3:
                outbox.begin()
            else:
                found = sorted(outbox.seen - taken)
                look(
                    gaps,
                    found,
                    oldest_running=outbox.oldest_running,
                    next_transaction=outbox.next_transaction,
                )
                taken.update(found)
    assert taken_without_a_look > 1000
