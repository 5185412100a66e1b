"""Parses the command line. Each command imports what it runs, so that `--help` comes at once."""

from importlib.metadata import version
from typing import Annotated

import typer

from roomcast.events.cli import app as events

app = typer.Typer(
    name="roomcast",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Settings are environment variables, and `.env` in the current folder (see `.env.example`).",
)

app.add_typer(events, name="events")


def _print_version(asked: bool) -> None:  # noqa: FBT001  # typer calls it so
    if asked:
        typer.echo(f"roomcast {version('roomcast')}")
        raise typer.Exit


@app.callback()
def roomcast(
    *,
    _version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Rooms over Socket.IO, messages over REST, replies of an assistant. Start with `roomcast up`."""


@app.command()
def up(
    *,
    demo: Annotated[
        bool,
        typer.Option(help="Make two demo logins and chats (only with the embedded database, on loopback)."),
    ] = True,
) -> None:
    """Run everything in this one process.

    What is not configured is embedded: PostgreSQL in `DATA_DIR` (unless `DATABASE_URL` is set), the bus
    (unless `RABBITMQ_URL` is set), the store (unless `REDIS_URL` is set). Brings the database to the current
    schema.

    Variables that matter most: `DATA_DIR`, `API_PORT`, `GATEWAY_PORT`, `WORKER_PORT`.
    """
    from roomcast.up import main  # noqa: PLC0415

    raise typer.Exit(main(with_demo=demo))


@app.command()
def api() -> None:
    """Run the REST API as a process of its own.

    Needs `DATABASE_URL`, `RABBITMQ_URL` and `REDIS_URL`, and a database that `roomcast migrate` brought to
    the current schema. Listens on `API_HOST`, `API_PORT`; signs tokens with `JWT_PRIVATE_KEY_FILE`.
    """
    from chat_api.__main__ import main  # noqa: PLC0415

    raise typer.Exit(main())


@app.command()
def gateway() -> None:
    """Run the Socket.IO gateway as a process of its own; run as many as the sockets need.

    Needs `RABBITMQ_URL` and `REDIS_URL`. Listens on `GATEWAY_HOST`, `GATEWAY_PORT`; reaches the API at
    `API_URL` and gets public keys from `JWKS_URL`; lets browsers in from `CORS_ORIGINS`.
    """
    from ws_gateway.__main__ import main  # noqa: PLC0415

    raise typer.Exit(main())


@app.command()
def worker() -> None:
    """Run the assistant's worker as a process of its own; run as many as the replies need.

    Needs `RABBITMQ_URL` and `REDIS_URL`. Writes replies with `AI_MODEL`; answers health and metrics on
    `WORKER_HOST`, `WORKER_PORT`.
    """
    from ai_worker.__main__ import main  # noqa: PLC0415

    raise typer.Exit(main())


@app.command()
def chat(
    *,
    user: Annotated[str | None, typer.Option(help="Who to log in as; asked for when left out.")] = None,
    password: Annotated[
        str | None,
        typer.Option(envvar="ROOMCAST_PASSWORD", help="With what; asked for when left out."),
    ] = None,
    chat: Annotated[str | None, typer.Option(help="A chat's title or id; asked for when left out.")] = None,
    api_url: Annotated[str | None, typer.Option(help="Where the API is, unless `API_URL` says it.")] = None,
    gateway_url: Annotated[
        str | None,
        typer.Option(help="Where the gateway is, unless `GATEWAY_HOST`, `GATEWAY_PORT` say it."),
    ] = None,
) -> None:
    """Chat in the terminal: messages of others and the assistant's replies appear as they are written.

    Logs in (or makes a new login), opens a chat, takes what is typed. Without a terminal, it takes lines.
    """
    from roomcast.chat.command import main  # noqa: PLC0415

    raise typer.Exit(main(user=user, password=password, chat=chat, api_url=api_url, gateway_url=gateway_url))


@app.command()
def migrate() -> None:
    """Bring the database of `DATABASE_URL` to the current schema.

    Safe to run again, and by several at once: they take turns.
    """
    from roomcast.migrate import main  # noqa: PLC0415

    raise typer.Exit(main())


def main() -> None:
    """Runs the program `roomcast`."""
    app(prog_name="roomcast")
