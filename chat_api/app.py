"""The API's composition root: builds its objects, runs until told to stop, drains."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from importlib.metadata import version
from typing import Final

import asyncpg
import structlog
from aiohttp import ClientSession, web
from redis.asyncio import Redis
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from chat_api import migrations
from chat_api.accounts.accounts import Accounts
from chat_api.accounts.authentication import Callers
from chat_api.accounts.foreign_users import ForeignUsers
from chat_api.accounts.issuers import Authority
from chat_api.accounts.passwords import Passwords
from chat_api.accounts.revocation_set import EndedSessionsKeeper
from chat_api.accounts.sessions import Sessions
from chat_api.accounts.signing_keys import SigningKeys
from chat_api.chats.chats import Chats
from chat_api.chats.group_commit import Poster
from chat_api.chats.history import History
from chat_api.chats.members import Members
from chat_api.chats.messages import Messages
from chat_api.chats.reply_in_progress import Progress
from chat_api.database.connections import DATABASE_ERRORS, connect, open_engine
from chat_api.database.partitions import Maintenance
from chat_api.database.retention import Retention
from chat_api.http.endpoints import Endpoints, add_endpoints
from chat_api.http.error_middleware import problems_middleware
from chat_api.http.rate_limits import Limits
from chat_api.outbox.lag import Backlog
from chat_api.outbox.leader import Leader
from chat_api.replies.cancellation import Cancellation
from chat_api.replies.outcomes import Replies
from chat_api.replies.regeneration import Regeneration
from chat_api.routes.auth import auth_endpoints, user_endpoints
from chat_api.routes.chats import chat_endpoints, member_endpoints
from chat_api.routes.messages import message_endpoints
from chat_api.routes.pages import page_routes
from chat_api.routes.replies import reply_endpoints
from chat_api.settings import ApiSettings
from shared.auth.jwks import JwksKeys
from shared.auth.tokens import Verifier
from shared.bus import Bus, WorkQueue
from shared.concurrency.background import background
from shared.concurrency.backoff import backoff
from shared.config.addresses import base_url
from shared.http.cors import Origins, cors_middleware
from shared.http.graceful_stop import LINGER_SECONDS
from shared.http.health import Check, ops_routes
from shared.http.proxies import Proxies
from shared.interest import InterestMemory, InterestReader
from shared.interest.publisher import EventPublisher
from shared.process.runtime import StartError, http_server
from shared.store.drafts import Drafts
from shared.store.ended_sessions import EndedSessions
from shared.store.presence import Presence
from shared.telemetry.setup import http_middleware

REPLIES_AT_ONCE: Final = 8
FIRST_LOOK_SECONDS: Final = 5.0
"""How long a start waits for the database before it answers 503 instead."""

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class _Parts:
    """What the process opened and owns."""

    settings: ApiSettings
    database_url: str
    bus: Bus
    redis: Redis
    engine: AsyncEngine
    keys: SigningKeys
    authority: Authority
    passwords: Passwords
    poster: Poster
    leader: Leader
    ended: EndedSessionsKeeper

    def connect(self) -> Awaitable[asyncpg.Connection]:
        """A database connection of one's own."""
        return connect(self.database_url)


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
        configured = JwksKeys(settings.jwks_url, http) if _names_other_keys(settings) else None
        authority = Authority(keys, configured)
        memory = InterestMemory(redis)
        publisher = EventPublisher(bus=bus, interest=InterestReader(redis, memory))
        leader = Leader(lambda: connect(database_url), publisher)
        poster = Poster(lambda: connect(database_url), leader)
        ended = EndedSessionsKeeper(
            EndedSessions(redis), lambda: connect(database_url), access_seconds=settings.access_token_ttl
        )
        parts = _Parts(
            settings, database_url, bus, redis, engine, keys, authority, passwords, poster, leader, ended
        )
        if schema.done():
            await ended.once()  # before a gateway that waits for this API reads the set
        cancellation = Cancellation(engine, Drafts(redis))
        work = [poster.run(), memory.run(), _once_current(schema, _work(parts, cancellation))]
        if configured is not None:
            work.append(configured.run())
        async with background(tasks, *work):
            app = _application(parts, cancellation)
            address = settings.api_host, settings.api_port
            async with http_server(app, *address, variables="API", linger=LINGER_SECONDS):
                started()
                await stop.wait()
        schema.cancel()


def _names_other_keys(settings: ApiSettings) -> bool:
    return settings.jwks_url != f"{settings.api_url}/.well-known/jwks.json"


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


async def _once_current(schema: asyncio.Task[None], work: Callable[[], Awaitable[None]]) -> None:
    await asyncio.shield(schema)
    await work()


def _work(parts: _Parts, cancellation: Cancellation) -> Callable[[], Awaitable[None]]:
    """What goes on without being asked for."""
    drafts = Drafts(parts.redis)
    replies = Replies(parts.engine, drafts)
    settings = parts.settings
    retention = Retention(messages=settings.message_retention_days, events=settings.event_retention_days)
    maintenance = Maintenance(parts.connect, retention)
    backlog = Backlog(parts.connect, parts.bus)

    async def run() -> None:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(parts.leader.run())
            tasks.create_task(parts.ended.run())
            tasks.create_task(maintenance.run())
            tasks.create_task(backlog.run())
            tasks.create_task(cancellation.run())
            tasks.create_task(
                parts.bus.consume(WorkQueue.API_REPLIES, replies.handle, concurrency=REPLIES_AT_ONCE)
            )

    return run


def _application(parts: _Parts, cancellation: Cancellation) -> web.Application:
    settings, engine = parts.settings, parts.engine
    origins = Origins(settings.allowed_origins)
    app = web.Application(
        middlewares=[http_middleware("api"), cors_middleware(origins), problems_middleware()],
        handler_args={"max_field_size": 16 * 1024, "max_line_size": 16 * 1024},
    )
    verifier = Verifier(parts.authority.keys, issuer=settings.jwt_issuer, audience=settings.jwt_audience)
    callers = Callers(engine, verifier=verifier, foreign_users=ForeignUsers(engine))
    groups = _groups(parts, cancellation)
    add_endpoints(app, groups, authenticator=callers)
    app.add_routes(
        page_routes(
            groups,
            keys=parts.keys,
            version=version("roomcast"),
            api_url=settings.api_url,
            gateway_url=base_url(settings.gateway_host, settings.gateway_port),
        )
    )
    app.add_routes(ops_routes(_checks(parts)))
    return app


def _groups(parts: _Parts, cancellation: Cancellation) -> list[Endpoints]:
    settings, engine = parts.settings, parts.engine
    limits = Limits.of(on=settings.rate_limits)
    drafts = Drafts(parts.redis)
    progress = Progress(drafts)
    history = History(engine, progress, Presence(parts.redis))
    sessions = Sessions(
        engine,
        keys=parts.keys,
        ended=EndedSessions(parts.redis),
        issuer=settings.jwt_issuer,
        audience=settings.jwt_audience,
        access_seconds=settings.access_token_ttl,
        refresh_seconds=settings.refresh_token_ttl,
        not_noted=parts.ended.missed,
    )
    accounts = Accounts(
        engine,
        sessions=sessions,
        passwords=parts.passwords,
        limits=limits,
        kept_here=parts.authority.keeps_accounts_here,
    )
    return [
        auth_endpoints(accounts, sessions, Proxies(settings.trusted_proxies)),
        user_endpoints(accounts),
        chat_endpoints(Chats(engine, progress), history),
        member_endpoints(Members(engine)),
        message_endpoints(Messages(engine, parts.poster), history, limits),
        reply_endpoints(cancellation, Regeneration(engine), limits),
    ]


def _checks(parts: _Parts) -> dict[str, Check]:
    async def postgresql() -> None:
        async with parts.engine.connect() as connection:
            await connection.execute(text("SELECT 1"))

    async def rabbitmq() -> None:
        await parts.bus.ping()
        parts.bus.require_consuming(WorkQueue.API_REPLIES)

    async def redis() -> None:
        await parts.redis.ping()

    return {"postgresql": postgresql, "rabbitmq": rabbitmq, "redis": redis}
