"""Outages: how long clients noticed a fault."""

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final

from chaos.history import Post
from chaos.witness import Witness

AFTERMATH_SECONDS: Final = 1.0
"""What meets the fault, or the time right after it, is put down to it."""
_FIRST: Final = 40


@dataclass(slots=True)
class Window:
    """A fault; times are of the monotonic clock.

    Attributes:
        began: when it was about to be inflicted.
        effective: since when it is.
    """

    kind: str
    began: float
    healed: float = float("inf")
    effective: float = float("inf")


@dataclass(slots=True)
class Outage:
    """The worst of all faults of one kind, in seconds.

    Attributes:
        lasted: the fault itself.
        post: a post, from the first attempt to the answer, over all its repeats.
        delivery: from an answer until a socket heard of the message.
        posting: from the fault's end until a post was answered that began after it.
        hearing: the same, until every socket had heard of one.
    """

    lasted: float = 0.0
    post: float = 0.0
    delivery: float = 0.0
    posting: float = 0.0
    hearing: float = 0.0

    def __str__(self) -> str:
        return (
            f"lasted {self.lasted:5.1f} s; a post took {self.post:5.2f}, a delivery {self.delivery:5.2f}; "
            f"afterwards posting went on after {self.posting:4.2f}, hearing after {self.hearing:4.2f}"
        )


@dataclass(slots=True)
class _Timeline:
    windows: Sequence[Window]
    found: dict[str, Outage] = field(default_factory=lambda: defaultdict(Outage))

    def during(self, began: float, ended: float) -> Outage | None:
        """That of the first fault that this time meets."""
        after = bisect_right(self.windows, began, key=lambda window: window.began)
        for window in self.windows[max(0, after - 1) : after + 1]:
            if window.began <= ended and began <= window.healed + AFTERMATH_SECONDS:
                return self.found[window.kind]
        return None


def outages(
    windows: Sequence[Window], posts: Sequence[Post], witnesses: Iterable[Witness]
) -> dict[str, Outage]:
    """By kind of fault; `posts` are those answered, in the order in which they began."""
    timeline = _Timeline(windows)
    by_chat: dict[str, list[Witness]] = defaultdict(list)
    for witness in witnesses:
        by_chat[witness.chat_id].append(witness)
    for post in posts:
        _take(post, by_chat[post.chat_id], timeline)
    for window in windows:
        _recovery(window, posts, by_chat, timeline.found[window.kind])
    return timeline.found


def _take(post: Post, witnesses: Iterable[Witness], timeline: _Timeline) -> None:
    if (outage := timeline.during(post.began, post.answered_at)) is not None:
        outage.post = max(outage.post, post.answered_at - post.began)
    for witness in witnesses:
        heard_at = _heard_at(post, witness)
        if heard_at is not None and (outage := timeline.during(post.answered_at, heard_at)) is not None:
            outage.delivery = max(outage.delivery, heard_at - post.answered_at)


def _recovery(
    window: Window, posts: Sequence[Post], by_chat: dict[str, list[Witness]], outage: Outage
) -> None:
    outage.lasted = max(outage.lasted, window.healed - window.began)
    start = bisect_right(posts, window.healed, key=lambda post: post.began)
    busy = [post for post in posts[start : start + _FIRST] if not post.asks]
    if not busy:
        return
    outage.posting = max(outage.posting, min(post.answered_at for post in busy) - window.healed)
    first_heard: dict[str, float] = {}
    for post in busy:
        for witness in by_chat[post.chat_id]:
            if (at := _heard_at(post, witness)) is not None:
                first_heard[witness.name] = min(at, first_heard.get(witness.name, at))
    if first_heard:
        outage.hearing = max(outage.hearing, max(first_heard.values()) - window.healed)


def _heard_at(post: Post, witness: Witness) -> float | None:
    heard = witness.heard.get(post.answered[1]) if post.answered is not None else None
    return None if heard is None else heard.at
