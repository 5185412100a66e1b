"""The outcome of a fuzzing run."""

from collections import Counter
from dataclasses import dataclass

from endurance.gateway_process import Usage


@dataclass(frozen=True, slots=True)
class Report:
    """The outcome of a run."""

    inputs: int
    seconds: float
    outcomes: Counter[str]
    broadcasts: int
    p99: float
    slowest: float
    before: Usage
    rounds: tuple[Usage, ...]

    @property
    def after(self) -> Usage:
        """The gateway's usage in the end."""
        return self.rounds[-1]

    def lines(self) -> list[str]:
        """For people."""
        outcomes = ", ".join(f"{name} {count}" for name, count in self.outcomes.most_common())
        heard = (
            f"a bystander heard all of {self.broadcasts} broadcasts, in order; "
            f"p99 {self.p99 * 1000:.1f} ms, slowest {self.slowest * 1000:.1f} ms"
        )
        return [
            f"{self.inputs} inputs in {self.seconds:.0f} s: {outcomes}",
            heard,
            f"before: {self.before}",
            *(f"after {number}/{len(self.rounds)}: {used}" for number, used in enumerate(self.rounds, 1)),
        ]
