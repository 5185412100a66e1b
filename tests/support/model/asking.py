"""A responder on the model server, and what it answers."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from pydantic_ai.models import Model
from pydantic_ai.models.openai import OpenAIChatModel
from pydantic_ai.profiles.openai import OpenAIModelProfile
from pydantic_ai.providers.openai_compatible import OpenAICompatibleProvider
from redis.asyncio import Redis

from ai_worker.models.agent_responder import AgentResponder, Limits
from ai_worker.models.answer_cache import AnswerCache
from ai_worker.models.breaker import Breaker
from ai_worker.models.candidates import Candidate
from ai_worker.models.run import AnyAgent, built_in_agent
from ai_worker.responder import Facts, Part, Responder, ResponderError, Restarted, TextDelta
from shared.events import HistoryMessage, ReplyRequested
from shared.ids import new_id
from support.model.server import ModelServer

_made: list[Model] = []

QUICK = Limits(silence=1.5, total=20.0, budget=10_000, pause=0.01)


@dataclass(slots=True)
class Answered:
    """A reply as whoever watches it sees it.

    Attributes:
        shown: each text that was shown before the reply began anew, and the last one.
        code: why it failed; None where it did not.
        facts: those said last; of a failure, its metadata.
    """

    parts: list[Part] = field(default_factory=list)
    shown: list[str] = field(default_factory=lambda: [""])
    code: str | None = None
    facts: dict[str, Any] = field(default_factory=dict)

    @property
    def text(self) -> str:
        return self.shown[-1]

    def take(self, part: Part) -> None:
        self.parts.append(part)
        match part:
            case TextDelta(text):
                self.shown[-1] += text
            case Restarted():
                self.shown.append("")
            case Facts(metadata):
                self.facts = metadata
            case _:
                pass


def model_at(url: str, name: str) -> Candidate:
    """A model of a server of this protocol."""
    provider = OpenAICompatibleProvider("openai", base_url=url, api_key="key")
    profile = OpenAIModelProfile(openai_chat_streaming_requires_finish_reason=True)
    model = OpenAIChatModel(name, provider=provider, profile=profile)
    _made.append(model)
    return Candidate(name, model)


async def close_models() -> None:
    """Closes the connections of all models made here."""
    while _made:
        async with _made.pop():
            pass


def responder_on(
    server: ModelServer,
    redis: Redis,
    *,
    models: Sequence[str] = ("first",),
    others: Sequence[Candidate] = (),
    agent: AnyAgent | None = None,
    limits: Limits = QUICK,
    breaker: Breaker | None = None,
    ttl: int = 0,
) -> AgentResponder:
    """A responder that may ask `others`, then these models of the server."""
    return AgentResponder(
        agent or built_in_agent(),
        [*others, *(model_at(server.url, name) for name in models)],
        limits=limits,
        breaker=breaker or Breaker(redis, failures=1000, seconds=60, probe_seconds=60),
        cache=AnswerCache(redis, ttl=ttl, setup=models),
        instructions="Be kind.",
        with_context=True,
    )


def asking(*contents: str, context: dict[str, Any] | None = None, **more: Any) -> ReplyRequested:
    """A request to answer the last of these messages of one person."""
    history = tuple(
        HistoryMessage(id=new_id(), role="USER", user_id="ann", name="Ann", content=content)
        for content in contents or ("hello",)
    )
    fields = {
        "reply_id": new_id(),
        "chat_id": new_id(),
        "reply_to": history[-1].id,
        "title": "A chat",
        "context": context,
        "members": {"ann": "Ann"},
        "history": history,
    }
    return ReplyRequested(**{**fields, **more})


async def answer(responder: Responder, request: ReplyRequested | None = None) -> Answered:
    """The whole reply."""
    answered = Answered()
    try:
        async for part in responder.respond(request or asking()):
            answered.take(part)
    except ResponderError as error:
        answered.code, answered.facts = error.code, error.metadata or {}
    return answered
