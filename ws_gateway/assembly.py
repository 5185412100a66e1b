"""Builds the gateway's parts, from the bottom up: each builder takes what the ones before it have built."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass

import aiohttp
from aiohttp import web
from redis.asyncio import Redis

from shared.auth.jwks import JwksKeys
from shared.auth.tokens import Verifier
from shared.bus import Bus
from shared.http.cors import Origins
from shared.http.health import Check
from shared.http.proxies import Proxies
from shared.http.server import ProtocolFactory
from shared.interest import InterestLeases, InterestReader
from shared.interest.publisher import EventPublisher
from shared.store.ended_sessions import EndedSessions
from shared.store.presence import Presence
from ws_gateway.clients.disconnects import Disconnects
from ws_gateway.clients.drain import Drain
from ws_gateway.clients.handlers import Handlers
from ws_gateway.clients.handshake import Handshake
from ws_gateway.clients.joining import Joining
from ws_gateway.clients.key_wait import PatientVerifier
from ws_gateway.clients.lifecycle import SocketLifecycle
from ws_gateway.clients.revoked_sessions import RevokedSessions
from ws_gateway.clients.token_expiry import TokenExpiry
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
from ws_gateway.rooms.chat_state import ChatAccess
from ws_gateway.rooms.fanout import Fanout
from ws_gateway.rooms.membership import Membership
from ws_gateway.rooms.membership_recheck import MembershipRecheck, Suspects
from ws_gateway.rooms.relay import Relay
from ws_gateway.rooms.resync import Resync
from ws_gateway.rooms.rooms import Rooms
from ws_gateway.rooms.sockets import Sockets
from ws_gateway.settings import GatewaySettings


@dataclass(frozen=True, slots=True, kw_only=True)
class Resources:
    """The settings and connections that the parts are built on.

    Attributes:
        instance: this gateway's name, which no other has or had.
        http: connections to the API.
        tasks: runs what clients ask, and what leaving a room sets off.
    """

    instance: str
    settings: GatewaySettings
    limits: Limits
    bus: Bus
    redis: Redis
    http: aiohttp.ClientSession
    tasks: asyncio.TaskGroup


@dataclass(frozen=True, slots=True, kw_only=True)
class RoomParts:
    """Rooms, the sockets in them, and their users' presence."""

    sockets: Sockets
    fanout: Fanout
    access: ChatAccess
    leases: InterestLeases
    membership: Membership
    resync: Resync
    recheck: MembershipRecheck
    announcer: Announcer
    presence: RoomPresence
    dead_gateways: DeadGateways


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientParts:
    """The Socket.IO server, and what ends its sockets."""

    engine: Engine
    keys: JwksKeys
    sessions: RevokedSessions
    drain: Drain


@dataclass(frozen=True, slots=True, kw_only=True)
class ListenerParts:
    """The parts that accept connections of clients."""

    engine: Engine
    keys: JwksKeys
    origins: Origins
    proxies: Proxies
    admission: Admission
    connections: HttpConnections
    limits: Limits

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

    def application(self, checks: Mapping[str, Check]) -> web.Application:
        """Returns what aiohttp serves; `checks` say whether the gateway is ready."""
        return application(
            engine=self.engine,
            origins=self.origins,
            checks=checks,
            can_verify=lambda: self.keys.loaded,
            admission=self.admission,
            proxies=self.proxies,
            connections=self.connections,
            limits=self.limits,
        )


def build_rooms(resources: Resources) -> RoomParts:
    """Builds the rooms, which ask the API and Redis, and know nothing of clients' packets."""
    instance, redis = resources.instance, resources.redis
    sockets, rooms, suspects = Sockets(), Rooms(), Suspects()
    fanout = Fanout(rooms)
    announcer = Announcer(EventPublisher(bus=resources.bus, interest=InterestReader(redis)))
    presence = RoomPresence(instance=instance, store=Presence(redis), announce=announcer.announce)
    resync = Resync(sockets=sockets, rooms=rooms, fanout=fanout, suspects=suspects)

    def on_missed(missed: frozenset[str] | None) -> None:
        resync.rooms(missed)
        if missed is None:
            presence.refresh()

    leases = InterestLeases(redis, instance, missed=on_missed)
    membership = Membership(
        rooms=rooms,
        leases=leases,
        presence=presence,
        tasks=resources.tasks,
        join_buffer_events=resources.limits.join_buffer_events,
    )
    access = ChatAccess(url=resources.settings.api_url, http=resources.http)
    return RoomParts(
        sockets=sockets,
        fanout=fanout,
        access=access,
        leases=leases,
        membership=membership,
        resync=resync,
        recheck=MembershipRecheck(suspects=suspects, membership=membership, access=access),
        announcer=announcer,
        presence=presence,
        dead_gateways=DeadGateways(instance=instance, store=Presence(redis), presence=presence),
    )


def build_clients(resources: Resources, rooms: RoomParts, origins: Origins) -> ClientParts:
    """Builds the Socket.IO server and its application: handshakes, and the answers to what sockets ask."""
    settings, limits = resources.settings, resources.limits
    membership, fanout = rooms.membership, rooms.fanout
    engine = Engine(tasks=resources.tasks, limits=limits)
    keys = JwksKeys(settings.jwks_url, resources.http)
    verifier = PatientVerifier(
        Verifier(keys, issuer=settings.jwt_issuer, audience=settings.jwt_audience),
        keys,
        seconds=limits.handshake_seconds,
    )
    disconnects = Disconnects(membership=membership, engine=engine)
    sessions = RevokedSessions(
        store=EndedSessions(resources.redis), sockets=rooms.sockets, end=disconnects.end
    )
    token_expiry = TokenExpiry(fanout=fanout, end=disconnects.end)
    drain = Drain(sockets=rooms.sockets, fanout=fanout, engine=engine)
    joining = Joining(
        membership=membership,
        access=rooms.access,
        presence=rooms.presence,
        fanout=fanout,
        engine=engine,
        max_rooms=limits.max_rooms,
    )
    handlers = Handlers(
        instance=resources.instance,
        sockets=rooms.sockets,
        membership=membership,
        joining=joining,
        verifier=verifier,
        ended=sessions.ended,
        token_expiry=token_expiry,
        announce=rooms.announcer.announce,
        close=disconnects.close,
    )
    engine.application = SocketLifecycle(
        limits=limits,
        sockets=rooms.sockets,
        membership=membership,
        fanout=fanout,
        handshake=Handshake(
            origins=origins, verifier=verifier, ended=sessions.ended, draining=lambda: drain.started
        ),
        handlers=handlers,
        token_expiry=token_expiry,
    )
    return ClientParts(engine=engine, keys=keys, sessions=sessions, drain=drain)


def build_relay(resources: Resources, rooms: RoomParts, clients: ClientParts) -> Relay:
    """Builds what the bus hands its events to."""

    def on_missed() -> None:
        rooms.resync.everyone()
        clients.sessions.reload()

    return Relay(
        instance=resources.instance,
        fanout=rooms.fanout,
        membership=rooms.membership,
        sessions=clients.sessions,
        missed=on_missed,
    )


def build_listener(resources: Resources, clients: ClientParts, origins: Origins) -> ListenerParts:
    """Builds what accepts TCP connections and hands them to the engine or to aiohttp."""
    limits, engine = resources.limits, clients.engine
    proxies = Proxies(resources.settings.trusted_proxies)
    return ListenerParts(
        engine=engine,
        keys=clients.keys,
        origins=origins,
        proxies=proxies,
        admission=Admission(limits, connections=lambda: engine.connections),
        connections=HttpConnections(ConnectionLimit(limits, proxies), seconds=limits.handshake_seconds),
        limits=limits,
    )
