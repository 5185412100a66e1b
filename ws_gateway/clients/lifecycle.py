"""Takes a socket through its life: admitted, told that it is connected, answered, gone."""

import time
from collections.abc import Callable
from typing import Any

import structlog

from shared.auth.tokens import Claims
from shared.http.rate_limit import TokenBucket
from shared.ids import now, rfc3339
from ws_gateway.clients.handlers import Handlers
from ws_gateway.clients.handshake import Handshake
from ws_gateway.clients.token_expiry import TokenExpiry, unix_time_text
from ws_gateway.engine.application import Arrival, ArrivalRefusedError, Reply
from ws_gateway.errors import TooManySocketsError
from ws_gateway.limits import ConcurrencyLimit, Limits
from ws_gateway.metrics import LIMITED, REFUSED, SOCKETS
from ws_gateway.rooms.fanout import Fanout
from ws_gateway.rooms.membership import Membership
from ws_gateway.rooms.sockets import Sockets
from ws_gateway.rooms.subscriptions import Socket

log = structlog.get_logger()


class SocketLifecycle:
    """The engine's `Application`: what becomes of its sockets."""

    def __init__(
        self,
        *,
        limits: Limits,
        sockets: Sockets,
        membership: Membership,
        fanout: Fanout,
        handshake: Handshake,
        handlers: Handlers,
        token_expiry: TokenExpiry,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._limits = limits
        self._sockets = sockets
        self._membership = membership
        self._fanout = fanout
        self._handshake = handshake
        self._handlers = handlers
        self._token_expiry = token_expiry
        self._clock = clock
        self._admitted: dict[str, Socket] = {}
        self._user_slots = ConcurrencyLimit(limits.sockets_per_user if limits.limited else None)

    async def admit(self, arrival: Arrival) -> None:
        """Checks a client and gets it a place in its user's room, so that it misses nothing from then on.

        Raises:
            ArrivalRefusedError: it may not come in.
            ArrivalPostponedError: that cannot be told now.
        """
        try:
            await self._admit(arrival)
        except ArrivalRefusedError as refusal:
            REFUSED.labels(refusal.code).inc()
            log.info("handshake.refused", code=refusal.code)
            raise

    async def _admit(self, arrival: Arrival) -> None:
        token, claims = await self._handshake.check(arrival)
        if not self._user_slots.acquire(claims.user_id):
            refusal = TooManySocketsError()
            LIMITED.labels(refusal.code).inc()
            raise ArrivalRefusedError(refusal.code, refusal.message)
        socket = self._socket(arrival, token, claims)
        try:
            await self._membership.enter_own(socket)
            self._handshake.check_still(claims)
        except BaseException:
            self._user_slots.release(socket.user_id)
            self._membership.leave_all(socket)
            raise
        self._admitted[arrival.sid] = socket

    def connected(self, sid: str) -> None:
        """Tells the client who it is, then what its user's room has had since it was admitted."""
        socket = self._admitted.pop(sid)
        self._sockets.add(socket)
        SOCKETS.set(len(self._sockets))
        self._fanout.emit(socket, "connected", self._greeting(socket))
        complete = socket.own is None or self._fanout.release(socket.own)
        if not complete:
            self._fanout.emit(socket, "resync", {"chatId": None, "inMs": 0})
        self._token_expiry.start(socket)
        log.info("socket.connected", sid=sid, user_id=socket.user_id, session_id=socket.session_id)

    async def asked(self, sid: str, event: object, arguments: list[Any], reply: Reply) -> None:
        """Answers what a client asks."""
        socket = self._sockets.get(sid)
        if socket is not None:
            await self._handlers.handle(socket, event, arguments, reply)

    def gone(self, sid: str, reason: str) -> None:
        """Forgets a socket."""
        socket = self._admitted.pop(sid, None) or self._sockets.get(sid)
        if socket is None:
            return
        socket.gone = True
        self._user_slots.release(socket.user_id)
        self._token_expiry.stop(socket)
        self._membership.leave_all(socket)
        self._sockets.remove(socket)
        SOCKETS.set(len(self._sockets))
        log.info("socket.gone", sid=sid, user_id=socket.user_id, reason=reason)

    def _socket(self, arrival: Arrival, token: str, claims: Claims) -> Socket:
        limits = self._limits
        bucket = TokenBucket(rate=limits.events_per_second, burst=limits.burst, clock=self._clock)
        return Socket(
            sid=arrival.sid,
            connection=arrival.connection,
            user_id=claims.user_id,
            name=claims.name,
            session_id=claims.session_id,
            token=token,
            expires_at=claims.expires_at,
            bucket=bucket if limits.limited else None,
            flood_bucket=limits.flood_bucket(self._clock) if limits.limited else None,
        )

    def _greeting(self, socket: Socket) -> dict[str, Any]:
        return {
            "userId": socket.user_id,
            "sessionId": socket.session_id,
            "socketId": socket.sid,
            "serverTime": rfc3339(now()),
            "tokenExpiresAt": unix_time_text(socket.expires_at),
            "limits": {
                "maxPayload": self._limits.max_payload,
                "maxRooms": self._limits.max_rooms,
                "eventsPerSecond": self._limits.events_per_second,
                "eventsBurst": self._limits.burst,
                "maxSockets": self._limits.sockets_per_user,
            },
        }
