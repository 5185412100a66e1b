"""What came out, for people and for programs."""

import json
import os
import platform
import subprocess
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from bench.book import Book
from bench.contenders import KINDS


def table(book: Book) -> str:
    """Medians in a Markdown table, with their lowest and highest; ratios to Node's and stock's."""
    lines = [
        "| figure | who | median | lowest to highest | of Node's | of stock's |",
        "| --- | --- | ---: | --- | ---: | ---: |",
    ]
    for figure, who, series in book:
        spread = f"{min(series.values):.2f} to {max(series.values):.2f}"
        ratios = [_ratio(book, figure, who, other) for other in ("node", "python-socketio")]
        lines.append(f"| {figure} | {who} | {series.median:.2f} | {spread} | {' | '.join(ratios)} |")
    return "\n".join(lines)


def _ratio(book: Book, figure: str, who: str, other: str) -> str:
    mine, theirs = book.get(figure, who), book.get(figure, other)
    if mine is None or theirs is None or who == other or not theirs.median:
        return ""
    return f"{mine.median / theirs.median:.2f}"


def document(book: Book, **about: Any) -> dict[str, Any]:
    """Everything, for a JSON file."""
    return {
        "about": {
            "when": datetime.now(UTC).isoformat(timespec="seconds"),
            "commit": _commit(),
            "cores": os.cpu_count(),
            "system": platform.platform(),
            "python": platform.python_version(),
            **about,
        },
        "contenders": list(KINDS),
        "series": [
            {"figure": figure, "who": who, "median": one.median, "values": one.values, "notes": one.notes}
            for figure, who, one in book
        ],
    }


def _commit() -> str:
    command = ["git", "-C", str(Path(__file__).parent), "rev-parse", "--short", "HEAD"]
    said = subprocess.run(command, capture_output=True, text=True, check=False)
    return said.stdout.strip()


def write(book: Book, path: Path, **about: Any) -> None:
    """Writes the JSON file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(document(book, **about), indent=1) + "\n")
