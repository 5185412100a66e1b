"""The writing of one chunk into its draft."""

from collections.abc import Sequence
from typing import Any

import orjson
from redis.asyncio.client import Pipeline

from shared.store.draft_layout import (
    EXPIRY_SECONDS,
    FINAL,
    MARK,
    STANDING,
    chunk_position,
    facts_field,
    standing_in,
    state_key,
    texts_key,
)


class ReplyGoneError(Exception):
    """Nobody waits for this attempt any more: the reply has ended, or another attempt has begun."""


class ReplyCancelledError(Exception):
    """The reply was cancelled before this chunk."""


class ChunkWrite:
    """One chunk on its way to Redis, in the same round trip as the look at who is interested.

    `metadata` is what is known of the reply, where that is new.

    Attributes:
        whole: Redis has every chunk up to this one; False while that is not known.
        cancelled: somebody asked that the reply end where it is; this chunk still counts.
    """

    def __init__(
        self,
        reply_id: str,
        *,
        attempt: int,
        index: int,
        text: str,
        is_final: bool = False,
        metadata: dict[str, Any] | None = None,
    ) -> None:
        self._reply_id = reply_id
        self._attempt = attempt
        self._index = index
        self._text = text
        self._fields: dict[Any, Any] = {}
        if is_final:
            self._fields[FINAL] = chunk_position(attempt, index)
        if metadata is not None:
            self._fields[facts_field(attempt)] = orjson.dumps(metadata)
        self.whole = False
        self.cancelled = False

    def queue(self, pipeline: Pipeline) -> None:
        """Adds its commands."""
        key = texts_key(self._reply_id, self._attempt)
        if self._fields:
            pipeline.hset(state_key(self._reply_id), mapping=self._fields)
        if self._index == 0:
            pipeline.rpush(key, MARK, self._text)
        else:
            pipeline.rpushx(key, self._text)  # a list that is gone stays so, until it is mended
        pipeline.hmget(state_key(self._reply_id), *STANDING)
        if self._index == 0:
            pipeline.expire(key, EXPIRY_SECONDS)

    def take(self, answers: Sequence[Any]) -> None:
        """Takes what they were answered.

        Raises:
            ReplyGoneError: nobody waits for this chunk; it must not be sent.
            ReplyCancelledError: nor must this one; those before it count.
        """
        length, fields, *_ = answers[bool(self._fields) :]
        standing = standing_in(fields)
        if standing.ended or standing.attempt > self._attempt:
            raise ReplyGoneError
        if standing.kept is not None and not (
            standing.attempt == self._attempt and self._index < standing.kept
        ):
            raise ReplyCancelledError
        self.whole = length == self._index + 2 and standing.attempt == self._attempt
        self.cancelled = standing.cancelled
