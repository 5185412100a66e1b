"""Writes replies with models: the same one again where that can help, then the next, then a failure."""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from time import perf_counter
from typing import Any, Final

import structlog

from ai_worker.conversation import Conversation
from ai_worker.models.answer_cache import Answer, AnswerCache
from ai_worker.models.breaker import Breaker
from ai_worker.models.candidates import Candidate
from ai_worker.models.faults import ModelFault, OvertimeFault, TimeoutFault, TooLongFault, UnavailableFault
from ai_worker.models.metrics import FAILURES, FIRST_TOKEN, REQUESTS, TOKENS
from ai_worker.models.prompt import Prompt, prompt
from ai_worker.models.run import AnyAgent, Bounds, Run
from ai_worker.replies.chunks import MAX_CONTENT
from ai_worker.responder import Facts, Part, ResponderError, Restarted, TextDelta
from shared.concurrency.backoff import backoff
from shared.events import ReplyRequested

log = structlog.get_logger()

PATIENCE: Final = 20.0
"""Seconds that a provider may ask to wait at most (`Retry-After`); for more, its model is given up."""
SHORT_PATIENCE: Final = 2.0
"""The same where another model is there to be asked."""


@dataclass(frozen=True, slots=True)
class Limits:
    """The bounds of a reply.

    Attributes:
        silence: seconds until a model's first token, and between any two.
        total: seconds for the whole reply, over all attempts.
        budget: tokens (see `prompt.tokens`) that a model gets to read.
        pause: seconds before the same model is asked again, doubling each time.
    """

    silence: float
    total: float
    budget: int
    pause: float = 0.5


@dataclass(slots=True)
class _Reply:
    """The state of one reply over its attempts.

    Attributes:
        shown: true while text of it is to be seen.
        fault: why the last run failed.
        model: who was asked last.
    """

    chat: Conversation
    prompt: Prompt
    deadline: float
    started: float = field(default_factory=perf_counter)
    shown: bool = False
    fault: ModelFault | None = None
    model: str = ""

    def total_ms(self) -> dict[str, int]:
        """Returns `totalMs` so far."""
        return {"totalMs": _ms(perf_counter() - self.started)}

    def first_token_ms(self, run: Run) -> dict[str, int]:
        """Returns `firstTokenMs`, of a run that has said something."""
        if run.first_token is None:
            return {}
        return {"firstTokenMs": _ms(run.started + run.first_token - self.started)}


class AgentResponder:
    """The responder of an agent and the models that it may use, in this order.

    `instructions` are the operator's; `with_context` adds the chat's `context` to them.
    """

    def __init__(
        self,
        agent: AnyAgent,
        candidates: Sequence[Candidate],
        *,
        limits: Limits,
        breaker: Breaker,
        cache: AnswerCache,
        instructions: str | None,
        with_context: bool,
    ) -> None:
        self._agent = agent
        self._candidates = tuple(candidates)
        self._limits = limits
        self._breaker = breaker
        self._cache = cache
        self._instructions = instructions
        self._with_context = with_context

    async def respond(self, request: ReplyRequested) -> AsyncGenerator[Part, None]:
        """Yields the reply, part by part; `Facts` after the first text and, whole, at the end.

        Raises:
            ResponderError: no model could write it.
        """
        reply = self._begin(request)
        cached = None if request.regenerates else await self._cache.find(reply.prompt)
        if cached is not None:
            yield TextDelta(cached.content)
            took = reply.total_ms()["totalMs"]
            yield Facts({**cached.facts, "cache": True, "firstTokenMs": took, "totalMs": took})
            return
        for candidate in self._candidates:
            async with aclosing(self._ask(reply, candidate)) as parts:
                async for part in parts:
                    yield part
            if reply.fault is None:
                return
            if not reply.fault.fallback:
                break
        code = UnavailableFault.code if reply.fault is None else reply.fault.code
        FAILURES.labels(code).inc()
        raise ResponderError(code, {"model": reply.model, **reply.total_ms()})

    def _begin(self, request: ReplyRequested) -> _Reply:
        chat = Conversation.of(request)
        deadline = asyncio.get_running_loop().time() + self._limits.total
        return _Reply(chat, self._prompt(chat), deadline)

    def _prompt(self, chat: Conversation) -> Prompt:
        return prompt(
            chat,
            budget=self._limits.budget,
            instructions=self._instructions,
            with_context=self._with_context,
        )

    async def _ask(self, reply: _Reply, candidate: Candidate) -> AsyncGenerator[Part, None]:
        """Asks one model, as often as its faults allow; leaves the last in `reply.fault` (None: answered)."""
        pauses, asked = backoff(self._limits.pause), 0
        reply.prompt, reply.model = self._prompt(reply.chat), candidate.name
        while await self._allowed(reply):
            if reply.shown:
                reply.shown = False
                yield Restarted()
            async with aclosing(self._attempt(reply, candidate)) as parts:
                async for part in parts:
                    yield part
            asked += 1
            if reply.fault is None or not self._may_retry(reply, asked):
                return
            if isinstance(reply.fault, TooLongFault):
                reply.prompt = reply.prompt.shortened()
            else:
                asked_for = reply.fault.retry_after
                await asyncio.sleep(next(pauses) if asked_for is None else asked_for)

    async def _allowed(self, reply: _Reply) -> bool:
        if await self._breaker.allows(reply.model):
            return True
        reply.fault = reply.fault or UnavailableFault("the breaker is open")
        return False

    def _may_retry(self, reply: _Reply, asked: int) -> bool:
        """Returns whether the same model is asked once more."""
        others = reply.model != self._candidates[-1].name
        fault = reply.fault
        if fault is None or asked > fault.retries or (others and isinstance(fault, TimeoutFault)):
            return False
        if isinstance(fault, TooLongFault) and not reply.prompt.turns:
            return False
        left = reply.deadline - asyncio.get_running_loop().time()
        return (fault.retry_after or 0.0) <= min(left, SHORT_PATIENCE if others else PATIENCE)

    async def _attempt(self, reply: _Reply, candidate: Candidate) -> AsyncGenerator[Part, None]:
        bounds = Bounds(self._limits.silence, reply.deadline)
        run = Run(self._agent, candidate.model, reply.prompt, reply.chat, bounds)
        reply.fault, outcome = None, "abandoned"
        try:
            async with aclosing(run.parts()) as parts:
                async for part in parts:
                    yield part
                    if isinstance(part, TextDelta) and not reply.shown:
                        reply.shown = True
                        yield Facts({**self._facts(reply), **reply.first_token_ms(run)})
                    if len(run.text) >= MAX_CONTENT:
                        break
            outcome = "ok"
            await self._breaker.succeeded(reply.model)
            facts = {**self._facts(reply), **_usage(run)}
            if run.result and not run.tools:  # what a tool said may not hold for the next who asks
                await self._cache.keep(reply.prompt, Answer(run.text, facts))
            yield Facts({**facts, **reply.first_token_ms(run), **reply.total_ms()})
        except ModelFault as fault:
            outcome, reply.fault = fault.code, fault
            log.warning("model.failed", model=reply.model, code=fault.code, reason=str(fault))
            await self._report_to_breaker(reply.model, fault)
        finally:
            _count(run, reply.model, outcome)
            if outcome == "abandoned":
                await self._breaker.dropped(reply.model)

    async def _report_to_breaker(self, model: str, fault: ModelFault) -> None:
        if fault.counts_for_breaker:
            await self._breaker.failed(model)
        elif isinstance(fault, OvertimeFault):
            await self._breaker.dropped(model)
        else:
            await self._breaker.succeeded(model)

    def _facts(self, reply: _Reply) -> dict[str, Any]:
        return {"model": reply.model, "fallback": reply.model != self._candidates[0].name, "cache": False}


def _usage(run: Run) -> dict[str, Any]:
    if run.result is None:
        return {"finishReason": "length"}  # more than a message holds
    used, response = run.result.usage, run.result.response
    return {
        "tokensIn": used.input_tokens,
        "tokensOut": used.output_tokens,
        "finishReason": response.finish_reason,
    }


def _count(run: Run, model: str, outcome: str) -> None:
    REQUESTS.labels(model, outcome).inc()
    if run.first_token is not None:
        FIRST_TOKEN.labels(model).observe(run.first_token)
    if run.result is not None:
        TOKENS.labels(model, "in").inc(run.result.usage.input_tokens)
        TOKENS.labels(model, "out").inc(run.result.usage.output_tokens)


def _ms(seconds: float) -> int:
    return round(seconds * 1000)
