"""Draws the figures as bars: each scene with its contenders, less is better but where it says otherwise."""

from collections.abc import Iterator, Sequence
from typing import Final
from xml.sax.saxutils import escape

from bench.report.results import Book, Series
from bench.report.targets import FIGURES, TARGETS

WIDTH: Final = 760
_LEFT: Final = 210
_BAR: Final = 16
_GAP: Final = 6
_TITLE: Final = 26
_BETWEEN: Final = 18
_ROOM_FOR_VALUES: Final = 110
_COLOURS: Final = {"roomcast": "#2b6cb0", "node": "#68a063", "python-socketio": "#c9a227"}
_OTHERWISE: Final = "#7fb2e5"
_MORE_IS_BETTER: Final = frozenset(target.figure for target in TARGETS if target.more)
_STYLE: Final = "text{font:12px sans-serif;fill:#24292f}.title{font-weight:bold}.value{fill:#57606a}"


def draw(book: Book) -> str:
    """Returns the picture, as SVG."""
    y, parts = 10, []
    for figure, shown in FIGURES.items():
        bars = [(who, series) for name, who, series in book if name == figure]
        if bars:
            hint = ", more is better" if figure in _MORE_IS_BETTER else ""
            parts.append(
                f'<text class="title" x="10" y="{y + 12}">{escape(shown.title)} ({shown.unit}{hint})</text>'
            )
            parts += _bars(bars, y + _TITLE, shown.places)
            y += _TITLE + len(bars) * (_BAR + _GAP) + _BETWEEN
    body = "\n".join(parts)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{y}" viewBox="0 0 {WIDTH} {y}">\n'
        f'<style>{_STYLE}</style>\n<rect width="{WIDTH}" height="{y}" fill="#ffffff"/>\n{body}\n</svg>\n'
    )


def _bars(bars: Sequence[tuple[str, Series]], top: int, places: int) -> Iterator[str]:
    """Yields a bar each, with a line from the lowest to the highest value."""
    most = max(max(series.values) for _, series in bars) or 1.0
    scale = (WIDTH - _LEFT - _ROOM_FOR_VALUES) / most
    for number, (who, series) in enumerate(bars):
        y = top + number * (_BAR + _GAP)
        middle = y + _BAR / 2
        end = _LEFT + max(0.0, series.median) * scale
        low, high = (_LEFT + max(0.0, value) * scale for value in (min(series.values), max(series.values)))
        yield f'<text x="{_LEFT - 8}" y="{y + 12}" text-anchor="end">{escape(who)}</text>'
        yield (
            f'<rect x="{_LEFT}" y="{y}" width="{max(1.0, end - _LEFT):.1f}" height="{_BAR}" '
            f'fill="{_COLOURS.get(who, _OTHERWISE)}"/>'
        )
        yield f'<path d="M{low:.1f} {middle}H{high:.1f}" stroke="#24292f" stroke-width="1.5"/>'
        shown = f"{series.median:,.{places}f}"
        yield f'<text class="value" x="{max(end, high) + 8:.1f}" y="{y + 12}">{shown}</text>'
