"""The gateway, put together."""

import asyncio
import re
import secrets
import socket as hosts
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any, Final

import aiohttp
import structlog
from aiohttp import web
from redis.asyncio import Redis

from shared.auth.tokens import JwksKeys, Verifier
from shared.bus import Bus, BusUnavailableError
from shared.concurrency.background import background
from shared.concurrency.waiting import wait_for_event
from shared.http.cors import Origins
from shared.http.health import Check
from shared.http.proxies import Proxies
from shared.interest import InterestLeases, InterestReader
from shared.interest.publisher import EventPublisher
from shared.process.runtime import ProtocolFactory, http_server
from shared.store.ended_sessions import EndedSessions
from shared.store.presence import Presence
from ws_gateway.clients.drain import Drain
from ws_gateway.clients.handlers import Handlers
from ws_gateway.clients.handshake import Handshake
from ws_gateway.clients.joining import Joining
from ws_gateway.clients.key_wait import PatientVerifier
from ws_gateway.clients.lifecycle import Gateway
from ws_gateway.clients.revoked_sessions import LiveSessions
from ws_gateway.clients.token_expiry import TokenLife
from ws_gateway.engine.server import Engine
from ws_gateway.limits import Limits
from ws_gateway.listener.connection_limits import ConnectionLimit
from ws_gateway.listener.handshake_limits import Admission
from ws_gateway.listener.http_app import application
from ws_gateway.listener.http_connections import HttpConnections
from ws_gateway.listener.tcp import Routes, TcpConnection
from ws_gateway.presence.announcer import Announcer
from ws_gateway.presence.dead_gateways import DeadGateways
from ws_gateway.presence.presence import RoomPresence
from ws_gateway.rooms.chat_state import CONNECTIONS, ChatAccess
from ws_gateway.rooms.fanout import Fanout
from ws_gateway.rooms.membership import Membership
from ws_gateway.rooms.membership_recheck import MembershipRecheck, Suspects
from ws_gateway.rooms.relay import Relay
from ws_gateway.rooms.resync import Resync
from ws_gateway.rooms.rooms import Rooms
from ws_gateway.rooms.sockets import Sockets
from ws_gateway.rooms.subscriptions import Socket
from ws_gateway.settings import GatewaySettings

log = structlog.get_logger()

SESSIONS_SECONDS: Final = 2.0
"""How long the start waits to hear which sessions have ended."""
IDLE_SECONDS: Final = 75.0
"""How long a connection is kept on which no next request comes; longer than a proxy in front keeps it."""
RECANCEL_SECONDS: Final = 0.5
"""What runs beside the server loses nothing when it is cancelled again so soon."""
SETTLE_SECONDS: Final = 1.0
"""How long the end waits until others know that its users are gone."""


async def serve(
    settings: GatewaySettings,
    *,
    bus: Bus,
    redis: Redis,
    stop: asyncio.Event,
    started: Callable[[], None],
    limits: Limits | None = None,
) -> None:
    """Serves sockets until `stop` is set, then lets them go and returns; calls `started` once it listens."""
    limits = limits or Limits.of(settings)
    async with (
        asyncio.TaskGroup() as tasks,
        aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=CONNECTIONS)) as http,
    ):
        parts = _assembled(settings, limits, bus=bus, redis=redis, http=http, tasks=tasks)
        async with (
            background(tasks, *parts.background(), grace=RECANCEL_SECONDS),
            parts.leases,
            background(tasks, bus.consume_gateway(parts.instance, parts.relay), grace=RECANCEL_SECONDS),
        ):
            await wait_for_event(parts.sessions.loaded, seconds=SESSIONS_SECONDS)
            async with http_server(
                parts.application(bus),
                settings.gateway_host,
                settings.gateway_port,
                variables="GATEWAY",
                entrance=parts.entrance,
                idle=IDLE_SECONDS,
            ):
                log.info("gateway.listening", instance=parts.instance, port=settings.gateway_port)
                started()
                await stop.wait()
                await parts.drain.run()
            await parts.settle()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Parts:
    instance: str
    origins: Origins
    admission: Admission
    proxies: Proxies
    connections: HttpConnections
    limits: Limits
    keys: JwksKeys
    leases: InterestLeases
    engine: Engine
    relay: Relay
    drain: Drain
    sessions: LiveSessions
    presence: RoomPresence
    dead_gateways: DeadGateways
    announcer: Announcer
    recheck: MembershipRecheck

    def background(self) -> tuple[Coroutine[Any, Any, None], ...]:
        return (
            self.keys.run(),
            self.sessions.run(),
            self.presence.run(),
            self.dead_gateways.run(),
            self.announcer.run(),
            self.recheck.run(),
        )

    async def settle(self) -> None:
        """Lets others know that this gateway's users are gone."""
        await wait_for_event(self.presence.settled, seconds=SETTLE_SECONDS)
        await self.presence.withdraw()
        await wait_for_event(self.announcer.settled, seconds=SETTLE_SECONDS)

    def entrance(self, of_aiohttp: ProtocolFactory) -> ProtocolFactory:
        """Takes WebSockets straight from their connections; aiohttp gets the rest."""
        routes = Routes(
            engine=self.engine,
            of_aiohttp=of_aiohttp,
            connections=self.connections,
            proxies=self.proxies,
            may_open=lambda address: self.keys.loaded and self.admission.admits(address),
            seconds=self.limits.handshake_seconds,
        )
        return lambda: TcpConnection(routes)

    def application(self, bus: Bus) -> web.Application:
        return application(
            engine=self.engine,
            origins=self.origins,
            checks=self._checks(bus),
            can_verify=lambda: self.keys.loaded,
            admission=self.admission,
            proxies=self.proxies,
            connections=self.connections,
            limits=self.limits,
        )

    def _checks(self, bus: Bus) -> dict[str, Check]:
        async def rabbitmq() -> None:
            await bus.ping()
            if not self.relay.linked_now:
                raise BusUnavailableError("the gateway's queue is not being consumed")

        async def draining() -> None:
            if self.drain.started:
                raise _DrainingError

        return {
            "rabbitmq": rabbitmq,
            "redis": self.leases.ping,
            "jwks": self.keys.ping,
            "draining": draining,
        }


class _DrainingError(Exception):
    """This gateway is about to stop."""


def _assembled(
    settings: GatewaySettings,
    limits: Limits,
    *,
    bus: Bus,
    redis: Redis,
    http: aiohttp.ClientSession,
    tasks: asyncio.TaskGroup,
) -> _Parts:
    instance = _instance_name()
    sockets, rooms, proxies = Sockets(), Rooms(), Proxies(settings.trusted_proxies)
    fanout = Fanout(rooms)
    engine = Engine(tasks=tasks, limits=limits)
    keys = JwksKeys(settings.jwks_url, http)
    verifier = PatientVerifier(
        Verifier(keys, issuer=settings.jwt_issuer, audience=settings.jwt_audience),
        keys,
        seconds=limits.handshake_seconds,
    )
    announcer = Announcer(EventPublisher(bus=bus, interest=InterestReader(redis)))
    presence = RoomPresence(instance=instance, store=Presence(redis), announce=announcer.announce)
    dead_gateways = DeadGateways(instance=instance, store=Presence(redis), presence=presence)

    suspects = Suspects()
    resync = Resync(sockets=sockets, rooms=rooms, fanout=fanout, suspects=suspects)

    def rooms_missed(missed: frozenset[str] | None) -> None:
        resync.rooms(missed)
        if missed is None:
            presence.refresh()

    leases = InterestLeases(redis, instance, missed=rooms_missed)
    membership = Membership(
        rooms=rooms,
        leases=leases,
        presence=presence,
        tasks=tasks,
        join_buffer_events=limits.join_buffer_events,
    )

    def end(socket: Socket, reason: str) -> None:
        log.info("socket.ended", sid=socket.sid, user_id=socket.user_id, reason=reason)
        membership.leave_all(socket)
        engine.drop(socket.sid)

    def close(socket: Socket, reason: str) -> None:
        log.warning("socket.closed", sid=socket.sid, user_id=socket.user_id, reason=reason)
        membership.leave_all(socket)
        engine.close(socket.connection)

    access = ChatAccess(url=settings.api_url, http=http)
    sessions = LiveSessions(store=EndedSessions(redis), sockets=sockets, end=end)
    token_life = TokenLife(fanout=fanout, end=end)
    drain = Drain(sockets=sockets, fanout=fanout, engine=engine)
    recheck = MembershipRecheck(suspects=suspects, membership=membership, access=access)

    def all_missed() -> None:
        resync.everyone()
        sessions.reload()

    relay = Relay(
        instance=instance, fanout=fanout, membership=membership, sessions=sessions, missed=all_missed
    )
    origins = Origins(settings.allowed_origins)
    joining = Joining(
        membership=membership,
        access=access,
        presence=presence,
        fanout=fanout,
        engine=engine,
        max_rooms=limits.max_rooms,
    )
    engine.application = Gateway(
        limits=limits,
        sockets=sockets,
        membership=membership,
        fanout=fanout,
        handshake=Handshake(
            origins=origins, verifier=verifier, ended=sessions.ended, draining=lambda: drain.started
        ),
        handlers=Handlers(
            instance=instance,
            sockets=sockets,
            membership=membership,
            joining=joining,
            verifier=verifier,
            ended=sessions.ended,
            token_life=token_life,
            announce=announcer.announce,
            close=close,
        ),
        token_life=token_life,
    )
    return _Parts(
        instance=instance,
        origins=origins,
        admission=Admission(limits, connections=lambda: engine.connections),
        proxies=proxies,
        connections=HttpConnections(ConnectionLimit(limits, proxies), seconds=limits.handshake_seconds),
        limits=limits,
        keys=keys,
        leases=leases,
        engine=engine,
        relay=relay,
        drain=drain,
        sessions=sessions,
        presence=presence,
        dead_gateways=dead_gateways,
        announcer=announcer,
        recheck=recheck,
    )


def _instance_name() -> str:
    """A name that no other gateway has or had, and that tells an operator where it runs."""
    host = re.sub(r"[^a-z0-9-]", "-", hosts.gethostname().lower())[:32]
    return f"{host}-{secrets.token_hex(4)}"
