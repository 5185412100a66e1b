"""Parses the commands of `roomcast events`. Each imports what it runs, so that `--help` comes at once."""

from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from chat_api.outbox.event_store import Filter

app = typer.Typer(
    no_args_is_help=True,
    help="Operators: look at the event store and the dead letters, and publish again.\n\n"
    "The store is the database of `DATABASE_URL`, or else that of a `roomcast up` which runs on `DATA_DIR`.",
)
dead = typer.Typer(
    no_args_is_help=True,
    help="Operators: what consumers gave up, in the queue `roomcast.dead-letters` of `RABBITMQ_URL`.",
)
app.add_typer(dead, name="dead")

_WHEN = "a time like 2026-11-21T09:30:00Z, or how long ago, like 90s, 15m, 2h, 3d."

Json = Annotated[bool, typer.Option("--json", help="Print a JSON object a line, for programs.")]
Chat = Annotated[str | None, typer.Option(help="Only of this chat (its id).")]
Types = Annotated[
    list[str] | None, typer.Option("--type", help="Only of this type, such as message.created; repeatable.")
]
Since = Annotated[str | None, typer.Option(help=f"Only from then on: {_WHEN}")]
Until = Annotated[str | None, typer.Option(help=f"Only before then: {_WHEN}")]
Unpublished = Annotated[bool, typer.Option("--unpublished", help="Only what the relay has yet to publish.")]
Outdated = Annotated[bool, typer.Option("--outdated", help="Also what is not so any more.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]
Ids = Annotated[list[str] | None, typer.Argument(help="Event ids.", show_default=False)]
All = Annotated[bool, typer.Option("--all", help="All that are there.")]


@app.command("list")
def list_(
    *,
    chat: Chat = None,
    types: Types = None,
    since: Since = None,
    until: Until = None,
    unpublished: Unpublished = False,
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="How many.")] = 50,
    before: Annotated[int | None, typer.Option(help="The page before this position.")] = None,
    after: Annotated[int | None, typer.Option(help="The page after this position.")] = None,
    as_json: Json = False,
) -> None:
    """List events, the latest last. `published` tells how long after its time an event was."""
    if before is not None and after is not None:
        raise typer.BadParameter("give --before or --after, not both")
    from roomcast.events.output import Output  # noqa: PLC0415
    from roomcast.events.sources import run_command  # noqa: PLC0415
    from roomcast.events.stored import list_events  # noqa: PLC0415

    which, out = _filter(chat, types, since, until, unpublished=unpublished), Output(as_json=as_json)
    listing = lambda sources: list_events(sources, out, which, limit=limit, before=before, after=after)  # noqa: E731
    raise typer.Exit(run_command(listing))


@app.command()
def show(
    event_id: Annotated[str, typer.Argument(metavar="ID", help="The event's id.")], *, as_json: Json = False
) -> None:
    """Show one event, whole."""
    from roomcast.events.output import Output  # noqa: PLC0415
    from roomcast.events.sources import run_command  # noqa: PLC0415
    from roomcast.events.stored import show_event  # noqa: PLC0415

    out = Output(as_json=as_json)
    raise typer.Exit(run_command(lambda sources: show_event(sources, out, event_id)))


@app.command()
def tail(
    *,
    chat: Chat = None,
    types: Types = None,
    last: Annotated[int, typer.Option(min=0, max=10_000, help="How many earlier ones first.")] = 10,
    as_json: Json = False,
) -> None:
    """Print events as they are recorded, until Ctrl-C. Waits for a database that goes away meanwhile."""
    from roomcast.events.output import Output  # noqa: PLC0415
    from roomcast.events.sources import run_command  # noqa: PLC0415
    from roomcast.events.stored import tail as follow  # noqa: PLC0415

    which, out = _filter(chat, types, None, None), Output(as_json=as_json)
    raise typer.Exit(run_command(lambda sources: follow(sources, out, which, last=last)))


@app.command()
def replay(
    ids: Ids = None,
    *,
    chat: Chat = None,
    types: Types = None,
    since: Since = None,
    until: Until = None,
    outdated: Outdated = False,
    yes: Yes = False,
    as_json: Json = False,
) -> None:
    """Publish stored events again, under the same ids: by id, or all that match.

    Whoever has an event passes over it. What is not so any more is passed over unless `--outdated` is given;
    what is not published yet is left to the relay. Needs `RABBITMQ_URL`.
    """
    matching = chat or types or since or until
    if bool(ids) == bool(matching):
        raise typer.BadParameter(
            "give event ids, or what they have in common (--chat, --type, --since, --until)"
        )
    from roomcast.events.output import Output  # noqa: PLC0415
    from roomcast.events.replay import replay_ids, replay_matching  # noqa: PLC0415
    from roomcast.events.sources import run_command  # noqa: PLC0415

    which, out = _filter(chat, types, since, until), Output(as_json=as_json)
    if ids:
        raise typer.Exit(run_command(lambda sources: replay_ids(sources, out, ids, outdated=outdated)))
    raise typer.Exit(
        run_command(lambda sources: replay_matching(sources, out, which, yes=yes, outdated=outdated))
    )


@dead.command("list")
def list_dead(
    *,
    limit: Annotated[int, typer.Option(min=1, max=100_000, help="How many.")] = 100,
    as_json: Json = False,
) -> None:
    """List dead letters, the oldest first, each with why it was given up. They stay as they are."""
    from roomcast.events.dead import list_letters  # noqa: PLC0415
    from roomcast.events.output import Output  # noqa: PLC0415
    from roomcast.events.sources import run_command  # noqa: PLC0415

    out = Output(as_json=as_json)
    raise typer.Exit(run_command(lambda sources: list_letters(sources, out, limit=limit)))


@dead.command("show")
def show_dead(
    letter_id: Annotated[str, typer.Argument(metavar="ID", help="The letter's id.")], *, as_json: Json = False
) -> None:
    """Show one dead letter, whole."""
    from roomcast.events.dead import show_letter  # noqa: PLC0415
    from roomcast.events.output import Output  # noqa: PLC0415
    from roomcast.events.sources import run_command  # noqa: PLC0415

    out = Output(as_json=as_json)
    raise typer.Exit(run_command(lambda sources: show_letter(sources, out, letter_id)))


@dead.command("replay")
def replay_dead(
    ids: Ids = None, *, all_: All = False, outdated: Outdated = False, as_json: Json = False
) -> None:
    """Give dead letters back to their queues. Each is taken off once the broker has confirmed it there.

    A request for a reply that nobody waits for any more is kept, unless `--outdated` is given.
    """
    from roomcast.events.dead import replay_letters  # noqa: PLC0415
    from roomcast.events.output import Output  # noqa: PLC0415
    from roomcast.events.sources import run_command  # noqa: PLC0415

    chosen, out = _chosen(ids, all_=all_), Output(as_json=as_json)
    raise typer.Exit(run_command(lambda sources: replay_letters(sources, out, chosen, outdated=outdated)))


@dead.command("drop")
def drop_dead(ids: Ids = None, *, all_: All = False, yes: Yes = False, as_json: Json = False) -> None:
    """Drop dead letters for good. `--all` wants `--yes`; `--json` prints what is dropped, whole."""
    from roomcast.events.dead import drop_letters  # noqa: PLC0415
    from roomcast.events.output import Output  # noqa: PLC0415
    from roomcast.events.sources import run_command  # noqa: PLC0415

    chosen, out = _chosen(ids, all_=all_), Output(as_json=as_json)
    raise typer.Exit(run_command(lambda sources: drop_letters(sources, out, chosen, yes=yes)))


def _chosen(ids: list[str] | None, *, all_: bool) -> frozenset[str] | None:
    if bool(ids) == all_:
        raise typer.BadParameter("give ids, or --all")
    return frozenset(ids) if ids else None


def _filter(
    chat: str | None,
    types: list[str] | None,
    since: str | None,
    until: str | None,
    *,
    unpublished: bool = False,
) -> "Filter":
    from chat_api.outbox.event_store import Filter  # noqa: PLC0415
    from roomcast.events.moments import moment  # noqa: PLC0415

    try:
        return Filter(
            chat=chat.lower() if chat else None,
            types=tuple(types or ()),
            since=moment(since) if since else None,
            until=moment(until) if until else None,
            unpublished=unpublished,
        )
    except ValueError as error:
        raise typer.BadParameter(f"not {_WHEN} ({error})") from None
