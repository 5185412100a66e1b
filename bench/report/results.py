"""Collects the measured values, by figure, contender and round."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from statistics import median
from typing import Any

from bench.rig import Spent


@dataclass(slots=True)
class Series:
    """One figure of one contender, a value a round; `notes` are what each was made from."""

    values: list[float] = field(default_factory=list)
    notes: list[dict[str, Any]] = field(default_factory=list)

    @property
    def median(self) -> float:
        return median(self.values)


class Book:
    """A book of values; `say` is called with a line for each."""

    def __init__(self, say: Any = print) -> None:
        self._say = say
        self._series: dict[tuple[str, str], Series] = {}

    def add(self, figure: str, who: str, value: float, spent: Spent | None = None, **notes: Any) -> None:
        """Adds one value."""
        one = self._series.setdefault((figure, who), Series())
        one.values.append(value)
        if spent is not None:
            notes |= {
                "gateway_cpu_s": round(spent.cpu, 4),
                "clients_cpu_s": round(spent.clients, 4),
                "seconds": round(spent.seconds, 3),
                "frames": spent.frames,
                "pings": spent.pings,
            }
        one.notes.append(notes)
        shown = "  ".join(f"{name} {noted}" for name, noted in notes.items())
        self._say(f"  {figure:16} {who:30} {value:10.3f}   {shown}")

    def get(self, figure: str, who: str) -> Series | None:
        """Returns one series, if there is one."""
        return self._series.get((figure, who))

    def __iter__(self) -> Iterator[tuple[str, str, Series]]:
        return ((figure, who, series) for (figure, who), series in self._series.items())
