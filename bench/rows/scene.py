"""Holds what every row is run with."""

from collections.abc import Sequence
from dataclasses import dataclass

from bench.contenders.gateways import Profile
from bench.environment import Environment
from bench.report.results import Book


@dataclass(frozen=True, slots=True)
class Scene:
    """One run of rows.

    Attributes:
        kinds: the gateways to compare.
        scale: 1.0; less makes everything shorter and says less.
    """

    environment: Environment
    book: Book
    rounds: int
    kinds: Sequence[str]
    profile: Profile | None = None
    scale: float = 1.0

    def many(self, count: int, least: int = 1) -> int:
        """Returns `count`, scaled."""
        return max(least, round(count * self.scale))
