"""Prints tables for people, or a JSON object a line for programs; remarks go to stderr."""

import sys
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any, Final

import orjson
from rich.console import Console
from rich.table import Table
from rich.text import Text

from chat_api.outbox.event_store import StoredEvent
from shared.bus.rabbit.dead_letters import DeadLetter
from shared.events import Event
from shared.ids import rfc3339

_WIDE: Final = 250
"""Columns of what is not a terminal: nothing is cut."""
_LISTED: Final = ("position", "time", "type", "about", "seq", "published", "id")
_LETTERS: Final = ("buried", "type", "queue", "reason", "id")


class Output:
    """The output of a command, as JSON or not."""

    def __init__(self, *, as_json: bool) -> None:
        self.as_json = as_json
        self._console = Console(width=None if sys.stdout.isatty() else _WIDE, highlight=False, markup=False)

    def events(self, events: Sequence[StoredEvent]) -> None:
        """Prints several, a row each."""
        if self.as_json:
            self._lines(event_json(each) for each in events)
        else:
            self._table(_LISTED, map(_row, events))

    def event(self, stored: StoredEvent) -> None:
        """Prints one, with all that there is."""
        if self.as_json:
            return self._lines([event_json(stored)])
        rows = {**event_json(stored)}
        body = rows.pop("body")
        return self._whole(rows, body)

    def followed(self, stored: StoredEvent) -> None:
        """Prints one that has just come, in a line."""
        if self.as_json:
            self._lines([event_json(stored)])
        else:
            position, time, type_, about, seq, _, id_ = _row(stored)
            line = Text(f"{position:>10}  {time}  ").append(f"{type_:<16}", "cyan")
            self._console.print(line.append(f"  {about:<36}  {seq:>6}  {id_}"), soft_wrap=True)
        sys.stdout.flush()

    def letters(self, letters: Sequence[DeadLetter]) -> None:
        """Prints several, a row each."""
        if self.as_json:
            self._lines(map(letter_json, letters))
        else:
            self._table(
                _LETTERS, ((each.buried, each.type, each.queue, each.reason, each.id) for each in letters)
            )

    def letter(self, letter: DeadLetter) -> None:
        """Prints one, with all that there is."""
        if self.as_json:
            return self._lines([letter_json(letter)])
        rows = letter_json(letter)
        event = rows.pop("event")
        body = event.pop("body") if event else rows.pop("body")
        return self._whole(
            {**rows, **{f"event.{name}": value for name, value in (event or {}).items()}}, body
        )

    def done(self, id_: str, outcome: str, *, well: bool) -> None:
        """Prints what became of one event or letter."""
        if self.as_json:
            self._lines([{"id": id_, "done": well, "outcome": outcome}])
        else:
            self._console.print(
                Text(f"{id_}  ").append(outcome, "green" if well else "yellow"), soft_wrap=True
            )

    def remark(self, text: str) -> None:
        """Prints a remark to the operator, on stderr."""
        sys.stderr.write(f"{text}\n")
        sys.stderr.flush()

    def _lines(self, objects: Iterable[dict[str, Any]]) -> None:
        for each in objects:
            sys.stdout.write(orjson.dumps(each).decode() + "\n")
        sys.stdout.flush()

    def _table(self, columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
        table = Table(box=None, header_style="bold", pad_edge=False)
        for column in columns:
            table.add_column(
                column, overflow="fold", justify="right" if column in {"position", "seq"} else "left"
            )
        for row in rows:
            table.add_row(*map(Text, row))
        self._console.print(table)

    def _whole(self, rows: dict[str, Any], body: Any) -> None:
        grid = Table.grid("", "", padding=(0, 2))
        for name, value in rows.items():
            grid.add_row(Text(name, "bold"), Text(value if isinstance(value, str) else _json(value)))
        self._console.print(grid)
        text = body if isinstance(body, str) else orjson.dumps(body, option=orjson.OPT_INDENT_2).decode()
        self._console.print(Text(f"\n{text}"), soft_wrap=True)


def event_json(stored: StoredEvent) -> dict[str, Any]:
    """Returns an event of the store as `--json` shows it."""
    return {
        "position": stored.position,
        **_event(stored.event),
        "publishedAt": None if stored.published_at is None else rfc3339(stored.published_at),
        "body": _body(stored.event.body),
    }


def letter_json(letter: DeadLetter) -> dict[str, Any]:
    """Returns a dead letter as `--json` shows it; `body` stands in `event`, else as text."""
    known = {
        "id": letter.id,
        "type": letter.type,
        "queue": letter.queue,
        "reason": letter.reason,
        "buried": letter.buried or None,
    }
    if letter.event is None:
        return {**known, "event": None, "body": letter.body.decode(errors="replace")}
    return {**known, "event": {**_event(letter.event), "body": _body(letter.event.body)}}


def _event(event: Event) -> dict[str, Any]:
    return {
        "id": event.id,
        "time": event.time,
        "type": event.type,
        "source": event.source,
        "subject": event.subject,
        "name": event.name,
        "rooms": event.rooms,
        "users": event.users,
        "seq": event.seq,
        "everywhere": event.everywhere,
        "requestId": event.request_id,
        "traceparent": event.traceparent,
    }


def _row(stored: StoredEvent) -> tuple[str, ...]:
    event = stored.event
    return (
        str(stored.position),
        event.time,
        event.type,
        event.subject,
        "" if event.seq is None else str(event.seq),
        _published(stored.published_at, event.time),
        event.id,
    )


def _published(at: datetime | None, time: str) -> str:
    return "not yet" if at is None else f"+{(at - datetime.fromisoformat(time)).total_seconds():.3f} s"


def _body(body: bytes) -> Any:
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError:
        return body.decode(errors="replace")


def _json(value: Any) -> str:
    return "" if value is None or value == () else orjson.dumps(value).decode()
