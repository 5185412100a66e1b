"""Asks the API for the state of a chat, with the user's own token: so it is what that user may see."""

import asyncio
from dataclasses import dataclass
from time import monotonic
from typing import Any, Final

import aiohttp
import orjson
import structlog

from shared.http.access_log import REQUEST_ID_HEADER
from shared.telemetry.correlation import current_request_id, current_traceparent
from ws_gateway.errors import (
    GatewayError,
    InvalidPayloadError,
    NotFoundError,
    TokenError,
    UnavailableError,
    token_error,
)
from ws_gateway.metrics import API_ANSWERS

log = structlog.get_logger()

_ANSWERED: Final = API_ANSWERS.labels("ok")
ANSWER_SECONDS: Final = 5.0
CONNECTIONS: Final = 64
MAX_BYTES: Final = 1024 * 1024
"""Of the messages in one acknowledgement: clients bound what they take in one frame, aiohttp's at 4 MiB."""
_RETRIED_STATUSES: Final = frozenset({502, 503, 504})
"""Of one instance of the API, maybe; it closes the connection, and a new one may lead to another."""


@dataclass(frozen=True, slots=True)
class ChatState:
    """A chat at one moment.

    Attributes:
        last_seq: the number of its last message.
        answer: what `join-chat` is acknowledged with: `lastSeq`, `missed`, `hasMore`, `reply`.
    """

    last_seq: int
    answer: dict[str, Any]


_Question = tuple[str, str, int | None]
"""User id, chat id, and the number after which messages are missed."""
_Answer = asyncio.Future[ChatState]


class ChatAccess:
    """Asks the API at `url`. `http` keeps its connections.

    Sockets of one user that ask the same share a question that is still to be sent. One that was sent is not
    shared: each caller has begun to buffer the room's events before it asks, and an answer to an earlier
    question would leave a hole. So of one question there is one on its way and one that waits.
    """

    def __init__(self, *, url: str, http: aiohttp.ClientSession, seconds: float = ANSWER_SECONDS) -> None:
        self._url = url
        self._http = http
        self._seconds = seconds
        self._unsent: dict[_Question, _Answer] = {}
        self._sent: dict[_Question, _Answer] = {}

    async def sync(self, chat_id: str, after_seq: int | None, *, user_id: str, token: str) -> ChatState:
        """Returns the chat as the user, the bearer of `token`, sees it, with the messages after `after_seq`.

        Raises:
            NotFoundError: there is no such chat, or the user is not a member.
            TokenError: the API refuses the token.
            UnavailableError: the API does not answer, or not as it should.
        """
        question = user_id, chat_id, after_seq
        while (unsent := self._unsent.get(question)) is not None:
            try:
                return await asyncio.shield(unsent)
            except TokenError:  # another session's, which may have ended
                continue
        return await self._ask_next(question, token)

    async def _ask_next(self, question: "_Question", token: str) -> ChatState:
        answer = self._unsent[question] = asyncio.get_running_loop().create_future()
        answer.add_done_callback(_mark_retrieved)
        try:
            while (earlier := self._sent.get(question)) is not None:
                await asyncio.wait({earlier})
            self._sent[question] = answer
            del self._unsent[question]
            state = await self._ask(*question[1:], token)
        except GatewayError as error:
            API_ANSWERS.labels(error.code).inc()
            answer.set_exception(error)
            raise
        except BaseException:
            answer.set_exception(UnavailableError())
            raise
        finally:
            for questions in (self._unsent, self._sent):
                if questions.get(question) is answer:
                    del questions[question]
        _ANSWERED.inc()
        answer.set_result(state)
        return state

    async def _ask(self, chat_id: str, after_seq: int | None, token: str) -> ChatState:
        began = monotonic()
        status, body = await self._get(chat_id, after_seq, token, seconds=self._seconds)
        left = began + self._seconds - monotonic()
        if status in _RETRIED_STATUSES and left > 0:
            status, body = await self._get(chat_id, after_seq, token, seconds=left)
        return _state(status, body)

    async def _get(
        self, chat_id: str, after_seq: int | None, token: str, *, seconds: float
    ) -> tuple[int, bytes]:
        try:
            async with self._http.get(
                f"{self._url}/api/chat/{chat_id}/sync",
                params={} if after_seq is None else {"afterSeq": str(after_seq)},
                headers={"Authorization": f"Bearer {token}", **_tracing_headers()},
                timeout=aiohttp.ClientTimeout(total=seconds),
                allow_redirects=False,
            ) as response:
                return response.status, await response.read()
        except (TimeoutError, aiohttp.ClientError, OSError) as error:
            log.warning("access.unreachable", error=type(error).__name__)
            raise UnavailableError from error


def _mark_retrieved(answer: _Answer) -> None:
    """Keeps asyncio from logging an error for which nobody else may have waited."""
    if not answer.cancelled():
        answer.exception()


def _tracing_headers() -> dict[str, str]:
    headers = {REQUEST_ID_HEADER: current_request_id(), "traceparent": current_traceparent()}
    return {name: value for name, value in headers.items() if value}


def _bounded(fields: dict[str, Any]) -> dict[str, Any]:
    """Returns it with as many of the first `missed` as fit; `hasMore` then says that another call is due."""
    kept: list[Any] = []
    size = 0
    for message in fields.get("missed", ()):
        size += len(orjson.dumps(message))
        if kept and size > MAX_BYTES:
            return {**fields, "missed": kept, "hasMore": True}
        kept.append(message)
    return fields


def _state(status: int, body: bytes) -> ChatState:
    try:
        decoded = orjson.loads(body)
    except orjson.JSONDecodeError:
        decoded = None
    fields = decoded if isinstance(decoded, dict) else {}
    match status:
        case 200 if isinstance(last_seq := fields.get("lastSeq"), int):
            return ChatState(last_seq, _bounded(fields) if len(body) > MAX_BYTES else fields)
        case 401:
            raise token_error(str(fields.get("code")))
        case 403 | 404:
            raise NotFoundError
        case 422:
            raise InvalidPayloadError
        case _:
            log.warning("access.unexpected_answer", status=status)
            raise UnavailableError
