"""Builds the responder that the settings ask for.

The agent library is imported only where it is needed: the demo does without.
"""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Final

from redis.asyncio import Redis

from ai_worker.demo import DemoResponder
from ai_worker.models.breaker import Breaker
from ai_worker.models.prompt import DEFAULT_INSTRUCTIONS
from ai_worker.models.selection import agent_and_candidates, is_demo
from ai_worker.responder import Responder
from ai_worker.settings import WorkerSettings

_PROBE_MARGIN: Final = 5.0


@dataclass(frozen=True, slots=True)
class Assistant:
    """A responder, and what operators want to know of it.

    Attributes:
        breaker: None where there are no models.
        models: their names.
    """

    responder: Responder
    breaker: Breaker | None = None
    models: tuple[str, ...] = ()


@asynccontextmanager
async def assistant(settings: WorkerSettings, redis: Redis) -> AsyncIterator[Assistant]:
    """Yields the assistant, with its connections to models and tools, for as long as the block runs.

    Raises:
        SettingsError: see `selection.check`.
    """
    if is_demo(settings.ai_model, settings.ai_agent):
        yield Assistant(DemoResponder(window=settings.ai_chunk_ms / 1000))
        return
    from ai_worker.models.agent_responder import AgentResponder, Limits  # noqa: PLC0415
    from ai_worker.models.answer_cache import AnswerCache  # noqa: PLC0415

    agent, candidates = agent_and_candidates(settings.ai_model, settings.ai_agent)
    names = tuple(candidate.name for candidate in candidates)
    breaker = Breaker(
        redis,
        failures=settings.ai_breaker_failures,
        seconds=settings.ai_breaker_seconds,
        probe_seconds=settings.ai_first_token_timeout + _PROBE_MARGIN,
    )
    own = settings.ai_agent is not None
    async with AsyncExitStack() as stack:
        for candidate in candidates:
            await stack.enter_async_context(candidate.model)
        await stack.enter_async_context(agent)
        responder = AgentResponder(
            agent,
            candidates,
            limits=Limits(
                silence=settings.ai_first_token_timeout,
                total=settings.ai_timeout,
                budget=settings.ai_context_tokens,
            ),
            breaker=breaker,
            cache=AnswerCache(redis, ttl=settings.ai_cache_ttl, setup=(*names, settings.ai_agent or "")),
            instructions=settings.ai_instructions or (None if own else DEFAULT_INSTRUCTIONS),
            with_context=not own,
        )
        yield Assistant(responder, breaker, names)
