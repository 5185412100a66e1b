"""A cache of answers to questions that are asked again and again in new chats."""

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

import orjson
from redis.asyncio import Redis

from ai_worker.models.metrics import CACHE
from ai_worker.models.prompt import Prompt
from shared.store.outages import OptionalStore, error_name


@dataclass(frozen=True, slots=True)
class Answer:
    """A cached reply.

    Attributes:
        facts: what its metadata said of the model's answer.
    """

    content: str
    facts: dict[str, Any]


class AnswerCache:
    """A cache in Redis: keeps an answer for `ttl` seconds (0: off); a miss while Redis is away.

    `setup` is what the answer depends on beside the prompt: the models' names, the agent.
    """

    def __init__(self, redis: Redis, *, ttl: int, setup: Sequence[str]) -> None:
        self._redis = redis
        self._ttl = ttl
        self._setup = tuple(setup)
        self._store = OptionalStore("store.skipped", seconds=3.0, reason=error_name, store="answer cache")

    async def find(self, prompt: Prompt) -> Answer | None:
        """Returns the answer to the same question under the same instructions, in a chat without history."""
        if not self._cacheable(prompt) or self._store.away:
            return None
        found = await self._store.ask(self._redis.get(self._key(prompt)))
        CACHE.labels("miss" if found is None else "hit").inc()
        return None if found is None else Answer(**orjson.loads(found))

    async def keep(self, prompt: Prompt, answer: Answer) -> None:
        """Keeps an answer for `find`."""
        if self._cacheable(prompt) and not self._store.away:
            value = orjson.dumps({"content": answer.content, "facts": answer.facts})
            await self._store.ask(self._redis.set(self._key(prompt), value, ex=self._ttl))

    def _cacheable(self, prompt: Prompt) -> bool:
        return self._ttl > 0 and not prompt.turns

    def _key(self, prompt: Prompt) -> str:
        asked = orjson.dumps([self._setup, prompt.instructions, prompt.question])
        return f"roomcast:answer:{sha256(asked).hexdigest()}"
