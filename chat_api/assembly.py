"""The API's parts, built from what its process opened: a builder for each room, in the order of use."""

from collections.abc import Awaitable
from dataclasses import dataclass
from typing import Self

import asyncpg
from aiohttp import ClientSession
from redis.asyncio import Redis
from sqlalchemy.ext.asyncio import AsyncEngine

from chat_api.accounts.accounts import Accounts
from chat_api.accounts.authentication import BearerAuthenticator
from chat_api.accounts.foreign_users import ForeignUsers
from chat_api.accounts.issuers import TrustedIssuers
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
from chat_api.database.connections import connect
from chat_api.database.partitions import Maintenance
from chat_api.database.retention import Retention
from chat_api.http.rate_limits import Limits
from chat_api.outbox.lag import Backlog
from chat_api.outbox.leader import Leader
from chat_api.replies.cancellation import Cancellation
from chat_api.replies.outcomes import Replies
from chat_api.replies.regeneration import Regeneration
from chat_api.settings import ApiSettings
from shared.auth.jwks import JwksKeys
from shared.auth.tokens import Verifier
from shared.bus import Bus
from shared.interest import InterestMemory, InterestReader
from shared.interest.publisher import EventPublisher
from shared.store.drafts import Drafts
from shared.store.ended_sessions import EndedSessions
from shared.store.presence import Presence


@dataclass(frozen=True, slots=True)
class Resources:
    """The settings, and what the process opened and owns."""

    settings: ApiSettings
    database_url: str
    bus: Bus
    redis: Redis
    engine: AsyncEngine
    http: ClientSession
    keys: SigningKeys
    passwords: Passwords

    def connect(self) -> Awaitable[asyncpg.Connection]:
        """Opens a database connection of one's own."""
        return connect(self.database_url)


@dataclass(frozen=True, slots=True)
class OutboxParts:
    """Publishing: the relay, the interest that it remembers, and the figures of what waits."""

    leader: Leader
    memory: InterestMemory
    backlog: Backlog

    @classmethod
    def of(cls, resources: Resources) -> Self:
        """Builds them from what is open."""
        memory = InterestMemory(resources.redis)
        publisher = EventPublisher(bus=resources.bus, interest=InterestReader(resources.redis, memory))
        return cls(
            leader=Leader(resources.connect, publisher),
            memory=memory,
            backlog=Backlog(resources.connect, resources.bus),
        )


@dataclass(frozen=True, slots=True)
class AccountParts:
    """Accounts and sessions; `configured_keys` are another issuer's, where `JWKS_URL` names one."""

    accounts: Accounts
    sessions: Sessions
    authenticator: BearerAuthenticator
    ended: EndedSessionsKeeper
    configured_keys: JwksKeys | None

    @classmethod
    def of(cls, resources: Resources, limits: Limits) -> Self:
        """Builds them from what is open."""
        settings, engine, keys = resources.settings, resources.engine, resources.keys
        own_url = f"{settings.api_url}/.well-known/jwks.json"
        configured = None if settings.jwks_url == own_url else JwksKeys(settings.jwks_url, resources.http)
        issuers = TrustedIssuers(keys, configured)
        ended = EndedSessionsKeeper(
            EndedSessions(resources.redis), resources.connect, access_seconds=settings.access_token_ttl
        )
        sessions = Sessions(
            engine,
            keys=keys,
            ended=EndedSessions(resources.redis),
            issuer=settings.jwt_issuer,
            audience=settings.jwt_audience,
            access_seconds=settings.access_token_ttl,
            refresh_seconds=settings.refresh_token_ttl,
            on_end_not_noted=ended.mark_incomplete,
        )
        accounts = Accounts(
            engine,
            sessions=sessions,
            passwords=resources.passwords,
            limits=limits,
            kept_here=issuers.keeps_accounts_here,
        )
        verifier = Verifier(issuers.keys, issuer=settings.jwt_issuer, audience=settings.jwt_audience)
        authenticator = BearerAuthenticator(engine, verifier=verifier, foreign_users=ForeignUsers(engine))
        return cls(accounts, sessions, authenticator, ended, configured)


@dataclass(frozen=True, slots=True)
class ChatParts:
    """Chats, members and messages; posts are stored by the `poster`, and handed over to the `leader`."""

    chats: Chats
    members: Members
    messages: Messages
    history: History
    poster: Poster

    @classmethod
    def of(cls, resources: Resources, leader: Leader) -> Self:
        """Builds them from what is open."""
        engine = resources.engine
        progress = Progress(Drafts(resources.redis))
        poster = Poster(resources.connect, leader)
        return cls(
            chats=Chats(engine, progress),
            members=Members(engine),
            messages=Messages(engine, poster),
            history=History(engine, progress, Presence(resources.redis)),
            poster=poster,
        )


@dataclass(frozen=True, slots=True)
class ReplyParts:
    """The ends of replies, and what members do with them."""

    cancellation: Cancellation
    regeneration: Regeneration
    replies: Replies

    @classmethod
    def of(cls, resources: Resources) -> Self:
        """Builds them from what is open."""
        engine, redis = resources.engine, resources.redis
        return cls(
            cancellation=Cancellation(engine, Drafts(redis)),
            regeneration=Regeneration(engine),
            replies=Replies(engine, Drafts(redis)),
        )


@dataclass(frozen=True, slots=True)
class Parts:
    """The whole API, but for what answers HTTP."""

    outbox: OutboxParts
    accounts: AccountParts
    chats: ChatParts
    replies: ReplyParts
    limits: Limits
    maintenance: Maintenance

    @classmethod
    def of(cls, resources: Resources) -> Self:
        """Builds them from what is open."""
        settings = resources.settings
        limits = Limits.of(on=settings.rate_limits)
        outbox = OutboxParts.of(resources)
        retention = Retention(messages=settings.message_retention_days, events=settings.event_retention_days)
        return cls(
            outbox=outbox,
            accounts=AccountParts.of(resources, limits),
            chats=ChatParts.of(resources, outbox.leader),
            replies=ReplyParts.of(resources),
            limits=limits,
            maintenance=Maintenance(resources.connect, retention),
        )
