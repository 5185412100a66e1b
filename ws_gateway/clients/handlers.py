"""Answers what a socket asks: a table of events, each with the one way in which it is answered."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

import orjson
import structlog

from shared.auth.jwks import KeysUnavailableError
from shared.auth.tokens import TokenRefusedError
from shared.events import TYPING, Event, chat_room
from shared.ids import canonical_uuid, now, rfc3339
from ws_gateway.clients.joining import Joining
from ws_gateway.clients.key_wait import PatientVerifier
from ws_gateway.clients.payloads import JoinChat, RefreshToken, Typing, chat_id_of, only
from ws_gateway.clients.token_expiry import TokenExpiry, unix_time_text
from ws_gateway.engine.application import Reply
from ws_gateway.errors import (
    ForbiddenError,
    GatewayError,
    InvalidPayloadError,
    LimitError,
    NotJoinedError,
    RateLimitedError,
    TokenInvalidError,
    UnavailableError,
    UnknownEventError,
    UseRestError,
    token_error,
)
from ws_gateway.metrics import FLOODING, LIMITED
from ws_gateway.rooms.membership import Membership
from ws_gateway.rooms.sockets import Sockets
from ws_gateway.rooms.subscriptions import Socket

log = structlog.get_logger()

Handler = Callable[[Socket, list[Any], Reply], Awaitable[None]]
"""Acknowledges by itself, or raises the `GatewayError` to be acknowledged with."""

_OK: Final = b'{"ok":true}'


class Handlers:
    """The handlers of clients' events, by name."""

    def __init__(
        self,
        *,
        instance: str,
        sockets: Sockets,
        membership: Membership,
        joining: Joining,
        verifier: PatientVerifier,
        ended: Callable[[str], bool],
        token_expiry: TokenExpiry,
        announce: Callable[[Event], None],
        close: Callable[[Socket, str], None],
    ) -> None:
        self._instance = instance
        self._sockets = sockets
        self._membership = membership
        self._joining = joining
        self._verifier = verifier
        self._ended = ended
        self._token_expiry = token_expiry
        self._announce = announce
        self._close = close
        self._table: Mapping[object, Handler] = {
            "join-user": self._join_user,
            "join-chat": self._join_chat,
            "leave-chat": self._leave_chat,
            "typing": self._typing,
            "heartbeat": self._heartbeat,
            "refresh-token": self._refresh_token,
            "send-msg": self._send_msg,
        }

    async def handle(self, socket: Socket, event: object, arguments: list[Any], reply: Reply) -> None:
        """Does what the client asks and acknowledges it, whatever happens."""
        try:
            self._check_rate(socket)
            handler = self._table.get(event) if isinstance(event, str) else None
            if handler is None:
                raise UnknownEventError
            await handler(socket, arguments, reply)
        except GatewayError as error:
            if isinstance(error, LimitError):
                LIMITED.labels(error.code).inc()
            reply(orjson.dumps(error.answer()))
        except Exception:
            log.exception("handlers.failed", sid=socket.sid)
            reply(orjson.dumps(GatewayError().answer()))

    def _check_rate(self, socket: Socket) -> None:
        if socket.bucket is None or socket.bucket.take():
            return
        if socket.flood_bucket is not None and not socket.flood_bucket.take() and not socket.gone:
            LIMITED.labels(FLOODING).inc()
            self._close(socket, FLOODING)
        raise RateLimitedError

    async def _join_user(self, socket: Socket, arguments: list[Any], reply: Reply) -> None:
        given = only(arguments) if arguments else None
        if not isinstance(given, str | None):
            raise InvalidPayloadError("a user id, or nothing, is expected")
        if given is not None and socket.user_id not in {given, canonical_uuid(given)}:
            raise ForbiddenError
        reply(_OK)  # it has been in since it connected

    async def _join_chat(self, socket: Socket, arguments: list[Any], reply: Reply) -> None:
        await self._joining.join(socket, JoinChat.of(arguments), reply)

    async def _leave_chat(self, socket: Socket, arguments: list[Any], reply: Reply) -> None:
        room = chat_room(chat_id_of(arguments))
        async with socket.room_lock(room):
            subscription = socket.chats.get(room)
            if subscription is None:
                raise NotJoinedError
            self._membership.leave(subscription)
            reply(_OK)

    async def _typing(self, socket: Socket, arguments: list[Any], reply: Reply) -> None:
        asked = Typing.of(arguments)
        chat_id = canonical_uuid(asked.chat_id) or asked.chat_id
        subscription = socket.chats.get(chat_room(chat_id))
        if subscription is None or not subscription.joined:
            raise NotJoinedError
        body = {
            "chatId": chat_id,
            "userId": socket.user_id,
            "name": socket.name,
            "isTyping": asked.is_typing,
        }
        self._announce(
            Event(
                type=TYPING,
                name="typing",
                body=orjson.dumps(body),
                source="/roomcast/gateway",
                subject=f"{self._instance}/{socket.sid}",
                rooms=(subscription.room,),
            )
        )
        reply(_OK)

    async def _heartbeat(self, _: Socket, __: list[Any], reply: Reply) -> None:
        reply(orjson.dumps({"ok": True, "time": rfc3339(now())}))

    async def _refresh_token(self, socket: Socket, arguments: list[Any], reply: Reply) -> None:
        token = RefreshToken.of(arguments).token
        try:
            claims = await self._verifier.verify(token, socket.connection.address)
        except TokenRefusedError as error:
            raise token_error(error.code) from error
        except KeysUnavailableError as error:
            raise UnavailableError from error
        if claims.user_id != socket.user_id:
            raise ForbiddenError
        if self._ended(claims.session_id):
            raise TokenInvalidError
        if socket.gone:
            return
        self._sockets.renew(socket, token, claims)
        reply(orjson.dumps({"ok": True, "expiresAt": unix_time_text(claims.expires_at)}))
        self._token_expiry.start(socket)

    async def _send_msg(self, _: Socket, __: list[Any], ___: Reply) -> None:
        raise UseRestError
