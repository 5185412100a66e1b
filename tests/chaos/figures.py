"""The figures that a run came to."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from chaos.history import Violation
from chaos.outages import Outage
from chaos.witness import Kind


@dataclass(slots=True)
class Figures:
    """The figures of one run; seconds where a name says nothing else."""

    seconds: float
    posts: int
    replies: int
    deliveries: int
    connections: int
    resyncs: int
    repeats: int
    answers: Counter[str]
    slowest_answer: float
    slowest_reply: float
    faults: Counter[str]
    violations: Sequence[Violation]
    outages: dict[str, Outage]
    notes: Sequence[str] = ()

    def lines(self) -> list[str]:
        """The figures as text."""
        found = Counter(violation.kind for violation in self.violations)
        lines = [
            f"{self.posts} posts in {self.seconds:.0f} s ({self.posts / self.seconds:.0f}/s)",
            f"{self.replies} replies",
            f"{self.deliveries} deliveries, {self.repeats} of them repeats dropped by id",
            f"{self.connections} connections, {self.resyncs} resyncs",
            f"answers: {', '.join(f'{count} {what}' for what, count in self.answers.most_common())}",
            f"slowest answer: {self.slowest_answer:.2f} s; slowest reply: {self.slowest_reply:.2f} s",
            ", ".join(f"{kind}: {found[kind]}" for kind in Kind),
        ]
        for kind, count in sorted(self.faults.items()):
            lines.append(f"{count:4} x {kind:41} {self.outages[kind]}")
        return [*lines, *self.notes]
