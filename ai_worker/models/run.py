"""Runs an agent with one model: its events become parts of a reply."""

import asyncio
import re
from collections.abc import AsyncGenerator, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from time import perf_counter
from typing import Any, Final

from pydantic_ai import Agent, AgentRunResult, AgentRunResultEvent, RunContext
from pydantic_ai.agent import AbstractAgent
from pydantic_ai.capabilities import AbstractCapability
from pydantic_ai.messages import (
    FunctionToolCallEvent,
    FunctionToolResultEvent,
    ModelMessage,
    ModelRequest,
    ModelResponse,
    PartDeltaEvent,
    PartStartEvent,
    TextPart,
    TextPartDelta,
    ToolCallPart,
    UserPromptPart,
)
from pydantic_ai.models import Model
from pydantic_ai.settings import ModelSettings
from pydantic_ai.tools import ToolDefinition
from pydantic_core import to_json

from ai_worker.conversation import Conversation
from ai_worker.models.faults import EmptyFault, FilteredFault, OvertimeFault, ToolFault, fault_of
from ai_worker.models.prompt import Prompt, Turn
from ai_worker.models.tool_threads import InToolThreads
from ai_worker.replies.chunks import cleaned
from ai_worker.responder import TextDelta, ToolCalling, ToolCompleted

AnyAgent = AbstractAgent[Any, Any]
Events = Any
RunPart = TextDelta | ToolCalling | ToolCompleted

FAILED: Final = "It failed."
_DESCRIPTION_LENGTH: Final = 120
_SETTINGS: Final = ModelSettings(max_retries=0)
"""What a client library would try again by itself would hide faults and take time that is counted here."""

_THREADS: Final = InToolThreads()


@dataclass(slots=True)
class Bounds:
    """The time limits of a run.

    Attributes:
        silence: seconds for which the model may send nothing; first of all before its first token.
        deadline: the loop time at which the whole reply has to be there.
    """

    silence: float
    deadline: float


@dataclass(slots=True)
class Run:
    """One run: call `parts` once, then read the attributes.

    Attributes:
        started: `perf_counter()` at the beginning.
        first_token: seconds from there to the first text; None before it.
        text: what was said so far.
        tools: true once a tool was called.
        invalid_call: true while the last call that the model asked for cannot be made.
        result: once it is complete.
    """

    agent: AnyAgent
    model: Model
    prompt: Prompt
    chat: Conversation
    bounds: Bounds
    started: float = field(default_factory=perf_counter)
    first_token: float | None = None
    text: str = ""
    tools: bool = False
    invalid_call: bool = False
    result: AgentRunResult[Any] | None = None
    _blank: str = ""
    _watch: "_ToolWatch" = field(init=False)

    async def parts(self) -> AsyncGenerator[RunPart, None]:
        """Yields the run's text and tool calls as they happen.

        Raises:
            ModelFault: the model did not answer as it should.
        """
        self._watch = _ToolWatch()
        try:
            async with self._events() as events:
                while (event := await self._next(events)) is not None:
                    for part in self._parts_of(event):
                        yield part
            for rest in self._rest():
                yield rest
        except Exception as error:
            fault = fault_of(error, said=bool(self.text) or self.invalid_call)
            if fault is None or fault is error:
                raise
            raise fault from error

    def _events(self) -> AbstractAsyncContextManager[Events]:
        return self.agent.run_stream_events(
            self.prompt.question,
            message_history=[_message(turn) for turn in self.prompt.turns],
            instructions=self.prompt.instructions or None,
            model=self.model,
            model_settings=_SETTINGS,
            deps=self.chat,
            capabilities=[self._watch, _THREADS],
            infer_name=False,
        )

    async def _next(self, events: Events) -> Any:
        """Returns the next event, in time; None after the last."""
        time = asyncio.get_running_loop().time
        due = self.bounds.deadline
        if not self._watch.running:
            due = min(due, time() + self.bounds.silence)
        try:
            async with asyncio.timeout_at(due):
                return await anext(events, None)
        except TimeoutError:
            if time() >= self.bounds.deadline:
                raise OvertimeFault("the whole reply took too long") from None
            raise

    def _parts_of(self, event: Any) -> Sequence[RunPart]:
        match event:
            case PartStartEvent(part=TextPart(content=text)) if text:
                return self._with_text(text, apart=True)
            case PartDeltaEvent(delta=TextPartDelta(content_delta=text)) if text:
                return self._with_text(text, apart=False)
            case PartStartEvent(part=ToolCallPart()):
                self.invalid_call = True  # until it is seen to be valid
            case FunctionToolCallEvent(part=call, args_valid=valid):
                self.invalid_call = not valid
                if valid:
                    self.tools = True
                    return [self._watch.called(call)]
            case FunctionToolResultEvent(part=answer):
                return self._watch.answered(answer.tool_call_id, failed=answer.outcome != "success")
            case AgentRunResultEvent(result=result):
                self.result = result
            case _:  # thinking, the ends of parts, what other kinds of agents have
                pass
        return []

    def _with_text(self, text: str, *, apart: bool) -> Sequence[TextDelta]:
        """Adds text; returns it as soon as there is a word in the reply."""
        text, self._blank = self._blank + text, ""
        if not self.text and not cleaned(text).strip():
            self._blank = text
            return []
        if self.first_token is None:
            self.first_token = perf_counter() - self.started
        if apart and self.text and not self.text[-1].isspace():
            text = "\n\n" + text  # what is said after a tool answered is a paragraph of its own
        self.text += text
        return [TextDelta(text)]

    def _rest(self) -> Sequence[TextDelta]:
        """Returns the text still missing at the end: an output that is no text, of an agent that has such."""
        if self.result is None:
            raise EmptyFault("no result")
        if self.result.response.finish_reason == "content_filter":
            raise FilteredFault("finish_reason content_filter")
        output = self.result.output
        if self.text or output is None:
            return []
        self._blank = ""
        rest = self._with_text(output if isinstance(output, str) else to_json(output).decode(), apart=True)
        if not rest:
            raise EmptyFault("nothing but white space")
        return rest


class _ToolWatch(AbstractCapability[Any]):
    """A watch on an agent's tools: their descriptions, which run, and which raise."""

    def __init__(self) -> None:
        self.running: dict[str, str] = {}
        self._descriptions: dict[str, str] = {}

    async def prepare_tools(
        self, _: RunContext[Any], tool_defs: list[ToolDefinition]
    ) -> list[ToolDefinition]:
        for tool in tool_defs:
            self._descriptions[tool.name] = first_sentence(tool.description or "")
        return tool_defs

    async def on_tool_execute_error(self, *_: Any, error: Exception, **__: Any) -> Any:
        raise ToolFault(type(error).__name__) from error

    def called(self, call: ToolCallPart) -> ToolCalling:
        self.running[call.tool_call_id] = call.tool_name
        return ToolCalling(call.tool_name, self._descriptions.get(call.tool_name, ""))

    def answered(self, call_id: str, *, failed: bool) -> Sequence[RunPart]:
        name = self.running.pop(call_id, None)
        return [] if name is None else [ToolCompleted(name, FAILED if failed else "")]


def first_sentence(text: str) -> str:
    """Returns the first sentence of a tool's description, in one line of at most 120 characters."""
    line = " ".join(re.sub(r"<[^>]*>", " ", text).split())
    sentence = re.split(r"(?<=[.!?])\s", line, maxsplit=1)[0]
    return (
        sentence
        if len(sentence) <= _DESCRIPTION_LENGTH
        else sentence[: _DESCRIPTION_LENGTH - 1].rstrip() + "…"
    )


def _message(turn: Turn) -> ModelMessage:
    if turn.role == "assistant":
        return ModelResponse(parts=[TextPart(turn.text)])
    return ModelRequest(parts=[UserPromptPart(turn.text)])


def built_in_agent() -> AnyAgent:
    """Returns the agent for operators without one of their own: no tools, the prompt's instructions."""
    return Agent(retries={"output": 0}, name="assistant")
