"""The API's composition root: opens what it owns, builds its parts, runs until told to stop, drains."""

import asyncio
from collections.abc import Awaitable, Callable
from importlib.metadata import version
from typing import Final

import structlog
from aiohttp import ClientSession, web
from redis.asyncio import Redis
from sqlalchemy import text

from chat_api import migrations
from chat_api.accounts.passwords import Passwords
from chat_api.accounts.signing_keys import SigningKeys
from chat_api.assembly import Parts, Resources
from chat_api.database.connections import DATABASE_ERRORS, open_engine
from chat_api.http.endpoints import Endpoints, add_endpoints
from chat_api.http.error_middleware import problems_middleware
from chat_api.routes.auth import auth_endpoints, user_endpoints
from chat_api.routes.chats import chat_endpoints, member_endpoints
from chat_api.routes.messages import message_endpoints
from chat_api.routes.pages import page_routes
from chat_api.routes.replies import reply_endpoints
from chat_api.settings import ApiSettings
from shared.bus import Bus, WorkQueue
from shared.concurrency.background import background
from shared.concurrency.backoff import backoff
from shared.config.addresses import base_url
from shared.config.start_errors import StartError
from shared.http.access_log import http_middleware
from shared.http.cors import Origins, cors_middleware
from shared.http.graceful_stop import LINGER_SECONDS
from shared.http.health import Check, ops_routes
from shared.http.proxies import Proxies
from shared.http.server import http_server

REPLIES_AT_ONCE: Final = 8
FIRST_LOOK_SECONDS: Final = 5.0
"""How long a start waits for the database before it answers 503 instead."""

log = structlog.get_logger()


async def serve(
    settings: ApiSettings,
    *,
    database_url: str,
    bus: Bus,
    redis: Redis,
    stop: asyncio.Event,
    started: Callable[[], None],
) -> None:
    """Serves REST, relays the outbox and stores replies until `stop` is set.

    Calls `started` once it listens; returns when running requests are answered. A database that is away is
    waited for; requests are answered 503 meanwhile.

    Raises:
        StartError: the database's schema is older than this program.
        SettingsError: the signing key cannot be used.
    """
    keys = SigningKeys.at(settings.jwt_private_key_file, settings.data_dir)
    async with (
        open_engine(database_url) as engine,
        ClientSession() as http,
        Passwords() as passwords,
        asyncio.TaskGroup() as tasks,
    ):
        schema = tasks.create_task(_current_schema(database_url))
        await asyncio.wait([schema], timeout=FIRST_LOOK_SECONDS)
        resources = Resources(settings, database_url, bus, redis, engine, http, keys, passwords)
        parts = Parts.of(resources)
        if schema.done():
            await parts.accounts.ended.once()  # before a gateway that waits for this API reads the set
        async with background(tasks, *_background_work(parts, bus, schema)):
            app = _application(parts, resources)
            address = settings.api_host, settings.api_port
            async with http_server(app, *address, variables="API", linger=LINGER_SECONDS):
                started()
                await stop.wait()
        schema.cancel()


async def _current_schema(database_url: str) -> None:
    """Returns once the database answers with the schema of this program or a newer one.

    Raises:
        StartError: it has an older one.
    """
    for pause in backoff():
        try:
            current = await migrations.is_current(database_url)
        except DATABASE_ERRORS as error:
            log.warning("api.database_away", error=repr(error))
            await asyncio.sleep(pause)
            continue
        if current:
            return
        raise StartError(
            "The database's schema is older than this program: run `roomcast migrate`, then start again."
        )


def _background_work(parts: Parts, bus: Bus, schema: asyncio.Task[None]) -> list[Awaitable[None]]:
    """Lists what goes on beside requests, from the start or once the schema is known to be current."""
    work: list[Awaitable[None]] = [
        parts.chats.poster.run(),
        parts.outbox.memory.run(),
        _work_on_current_schema(parts, bus, schema),
    ]
    if parts.accounts.configured_keys is not None:
        work.append(parts.accounts.configured_keys.run())
    return work


async def _work_on_current_schema(parts: Parts, bus: Bus, schema: asyncio.Task[None]) -> None:
    await asyncio.shield(schema)
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(parts.outbox.leader.run())
        tasks.create_task(parts.accounts.ended.run())
        tasks.create_task(parts.maintenance.run())
        tasks.create_task(parts.outbox.backlog.run())
        tasks.create_task(parts.replies.cancellation.run())
        replies = parts.replies.replies
        tasks.create_task(bus.consume(WorkQueue.API_REPLIES, replies.handle, concurrency=REPLIES_AT_ONCE))


def _application(parts: Parts, resources: Resources) -> web.Application:
    settings = resources.settings
    app = web.Application(
        middlewares=[
            http_middleware("api"),
            cors_middleware(Origins(settings.allowed_origins)),
            problems_middleware(),
        ],
        handler_args={"max_field_size": 16 * 1024, "max_line_size": 16 * 1024},
    )
    groups = _endpoints(parts, settings)
    add_endpoints(app, groups, authenticator=parts.accounts.authenticator)
    app.add_routes(
        page_routes(
            groups,
            keys=resources.keys,
            version=version("roomcast"),
            api_url=settings.api_url,
            gateway_url=base_url(settings.gateway_host, settings.gateway_port),
        )
    )
    app.add_routes(ops_routes(_checks(resources)))
    return app


def _endpoints(parts: Parts, settings: ApiSettings) -> list[Endpoints]:
    """Lists the endpoints by topic, in the order in which they are described."""
    accounts, chats, replies = parts.accounts, parts.chats, parts.replies
    return [
        auth_endpoints(accounts.accounts, accounts.sessions, Proxies(settings.trusted_proxies)),
        user_endpoints(accounts.accounts),
        chat_endpoints(chats.chats, chats.history),
        member_endpoints(chats.members),
        message_endpoints(chats.messages, chats.history, parts.limits),
        reply_endpoints(replies.cancellation, replies.regeneration, parts.limits),
    ]


def _checks(resources: Resources) -> dict[str, Check]:
    """Returns the checks of `/readyz`, one for each dependency."""

    async def postgresql() -> None:
        async with resources.engine.connect() as connection:
            await connection.execute(text("SELECT 1"))

    async def rabbitmq() -> None:
        await resources.bus.ping()
        resources.bus.require_consuming(WorkQueue.API_REPLIES)

    async def redis() -> None:
        await resources.redis.ping()

    return {"postgresql": postgresql, "rabbitmq": rabbitmq, "redis": redis}
