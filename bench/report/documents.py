"""Writes the report, for people and for programs."""

import json
import os
import platform
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from bench.report.picture import draw
from bench.report.results import Book, Series
from bench.report.targets import ABSOLUTE, FIGURES, RESENT, Outcome, outcomes

BEGIN: Final = "<!-- figures: from a run, by `python -m bench --publish` -->"
NAMES: Final = {"node": "Node", "python-socketio": "python-socketio"}
END: Final = "<!-- end of figures -->"


def markdown(book: Book) -> str:
    """Returns two tables: what was to be reached, and every figure."""
    return "\n".join([*_targets(book), "", *_figures(book)])


def _targets(book: Book) -> Iterator[str]:
    yield "| what | ratio | to reach | |"
    yield "| --- | ---: | ---: | --- |"
    for outcome in outcomes(book):
        target = outcome.target
        sign = "≥" if target.more else "≤"
        said = "reached" if outcome.reached else "**missed**"
        yield f"| {_what(outcome)} | {outcome.ratio:.2f} | {sign} {target.bound:g} | {said} |"


def _what(outcome: Outcome) -> str:
    target = outcome.target
    title = FIGURES[target.figure].title
    if target.of == ABSOLUTE:
        return f"{title}, in {FIGURES[target.figure].unit}"
    if target.of == RESENT:
        return f"{title}, of the same with the {RESENT}"
    if target.of in NAMES:
        return f"{title}, of {NAMES[target.of]}'s"
    return f"{title}, {_part(target.who)} to {_part(target.of)}"


def _part(who: str) -> str:
    return who.removeprefix("roomcast, ")


def _figures(book: Book) -> Iterator[str]:
    yield "| what | who | median | lowest to highest |"
    yield "| --- | --- | ---: | --- |"
    for figure, shown in FIGURES.items():
        for name, who, series in book:
            if name == figure:
                value = f"{series.median:.{shown.places}f} {shown.unit}"
                yield f"| {shown.title} | {who} | {value} | {_spread(series, shown.places)} |"


def _spread(series: Series, places: int) -> str:
    return f"{min(series.values):.{places}f} to {max(series.values):.{places}f}"


def document(book: Book, **about: Any) -> dict[str, Any]:
    """Returns everything, for a JSON file."""
    return {
        "about": {
            "when": datetime.now(UTC).isoformat(timespec="seconds"),
            "commit": _commit(),
            "cores": os.cpu_count(),
            "system": platform.platform(),
            "system_name": _system_name(),
            "node": _node(),
            "python": platform.python_version(),
            **about,
        },
        "targets": [
            {
                "figure": outcome.target.figure,
                "who": outcome.target.who,
                "of": outcome.target.of,
                "ratio": round(outcome.ratio, 4),
                "at_least" if outcome.target.more else "at_most": outcome.target.bound,
                "reached": outcome.reached,
            }
            for outcome in outcomes(book)
        ],
        "series": [
            {
                "figure": figure,
                "unit": FIGURES[figure].unit,
                "who": who,
                "median": one.median,
                "values": one.values,
                "notes": one.notes,
            }
            for figure, who, one in book
        ],
    }


def _commit() -> str:
    command = ["git", "-C", str(Path(__file__).parent), "rev-parse", "--short", "HEAD"]
    said = subprocess.run(command, capture_output=True, text=True, check=False)
    return said.stdout.strip()


def write(book: Book, folder: Path, **about: Any) -> None:
    """Writes `results.json`, `results.md` and `results.svg`."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "results.json").write_text(json.dumps(document(book, **about), indent=1) + "\n")
    (folder / "results.md").write_text(markdown(book) + "\n")
    (folder / "results.svg").write_text(draw(book))


def publish(folder: Path, page: Path) -> None:
    """Puts what `write` left in `folder` into a page, between its marks, and the picture beside it."""
    said = json.loads((folder / "results.json").read_text())["about"]
    before, _, rest = page.read_text().partition(BEGIN)
    _, _, after = rest.partition(END)
    told = (
        f"{said['cores']} cores, {said['system_name']}, Python {said['python']}, Node {said['node']}, at "
        f"commit {said['commit']}; medians of {said['rounds']} rounds, which took {said['minutes']} minutes."
    )
    tables = (folder / "results.md").read_text()
    picture = page.with_suffix(".svg")
    picture.write_text((folder / "results.svg").read_text())
    page.write_text(
        f"{before}{BEGIN}\n{told}\n\n{tables}\n![The figures as bars]({picture.name})\n{END}{after}"
    )


def _system_name() -> str:
    names = platform.freedesktop_os_release()
    return f"{names['NAME'].removesuffix(' GNU/Linux')} {names.get('VERSION_ID', '')}".strip()


def _node() -> str:
    return subprocess.run(["node", "--version"], capture_output=True, text=True, check=True).stdout.strip()
