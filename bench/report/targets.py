"""Lists the figures with their units, and the targets to reach."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from bench.contenders.gateways import NODE_GATEWAY, ROOMCAST, STOCK
from bench.report.results import Book


@dataclass(frozen=True, slots=True)
class Figure:
    """A figure; `places` are the decimals that it is shown with."""

    title: str
    unit: str
    places: int = 1


FIGURES: Final = {
    "room1000": Figure("CPU per delivery, room of 1000, one message at a time", "µs"),
    "bursts": Figure("CPU per delivery, room of 1000, bursts of 25", "µs", 2),
    "small": Figure("CPU per delivery, 2000 rooms of 5, 1000 messages a second", "µs"),
    "latency p99": Figure("delivery, room of 1000 at half of Node's limit, p99", "ms"),
    "latency p50": Figure("delivery, room of 1000 at half of Node's limit, median", "ms"),
    "lone p99": Figure("delivery, room of 1000, 10 messages a second, p99", "ms"),
    "lone p50": Figure("delivery, room of 1000, 10 messages a second, median", "ms"),
    "handshake": Figure("CPU per handshake with token and `join-chat`", "ms", 2),
    "memory": Figure("memory per idle joined socket", "KiB"),
    "posts per second": Figure("whole path: posts a second, 200 chats of 5", "1/s", 0),
    "API per post": Figure("whole path: CPU of the API with its relay, per post", "ms", 3),
    "posted p99": Figure("whole path: delivery at 100 posts a second over 50 chats, p99", "ms"),
    "posted p50": Figure("whole path: delivery at 100 posts a second over 50 chats, median", "ms"),
    "token cpu": Figure("CPU per token of a reply, worker, bus, store and gateway together", "µs"),
    "token worker": Figure("CPU per token of a reply: worker", "µs"),
    "token bus": Figure("CPU per token of a reply: RabbitMQ", "µs"),
    "token store": Figure("CPU per token of a reply: Redis", "µs"),
    "token gateway": Figure("CPU per token of a reply: gateway", "µs"),
    "first token p99": Figure("first token, worker to socket, 100 replies at once, p99", "ms"),
    "first token p50": Figure("first token, worker to socket, 100 replies at once, median", "ms"),
    "reply bytes": Figure("bytes to a socket for a reply", "KiB"),
    "room growth": Figure("CPU per delivery, one message at a time", "µs"),
    "rooms growth": Figure("CPU per event for one socket", "µs", 0),
    "unheld": Figure("CPU per event of a room that is not held", "µs"),
}


RESENT: Final = "whole text with each token"
ABSOLUTE: Final = ""


@dataclass(frozen=True, slots=True)
class Target:
    """A ratio to reach: of `who` in `figure` to `of`, at most `bound` (at least, where `more`).

    Where `of` is `ABSOLUTE`, it is the figure itself, in its unit.
    """

    figure: str
    of: str
    bound: float
    who: str = ROOMCAST
    more: bool = False


TARGETS: Final = (
    Target("room1000", NODE_GATEWAY, 0.6),
    Target("room1000", STOCK, 0.15),
    Target("bursts", NODE_GATEWAY, 0.1),
    Target("small", NODE_GATEWAY, 0.8),
    Target("latency p99", NODE_GATEWAY, 1.0),
    Target("lone p99", NODE_GATEWAY, 1.0),
    Target("handshake", NODE_GATEWAY, 1.0),
    Target("memory", NODE_GATEWAY, 1.0),
    Target("posts per second", NODE_GATEWAY, 1.5, more=True),
    Target("API per post", NODE_GATEWAY, 0.7),
    Target("posted p99", NODE_GATEWAY, 1.0),
    Target("token cpu", RESENT, 0.5),
    Target("first token p99", ABSOLUTE, 50),
    Target("reply bytes", f"{ROOMCAST}, 100 tokens", 2.1, who=f"{ROOMCAST}, 200 tokens"),
    Target("room growth", "roomcast, room of 100", 1.2, who="roomcast, room of 10000"),
    Target("rooms growth", "roomcast, 10 rooms", 1.2, who="roomcast, 10000 rooms"),
)
NOTHING: Final = 0.05
"""Of what Node spends on an event of a room that it does not hold: within what can be told from nothing."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """The outcome of a target."""

    target: Target
    ratio: float

    @property
    def reached(self) -> bool:
        bound, ratio = self.target.bound, self.ratio
        return ratio >= bound if self.target.more else ratio <= bound


def outcomes(book: Book) -> Iterator[Outcome]:
    """Yields each target whose figures were measured."""
    for target in (*TARGETS, Target("unheld", NODE_GATEWAY, NOTHING)):
        mine, theirs = book.get(target.figure, target.who), book.get(target.figure, target.of)
        if mine is not None and target.of == ABSOLUTE:
            yield Outcome(target, mine.median)
        elif mine is not None and theirs is not None and theirs.median:
            yield Outcome(target, mine.median / theirs.median)
