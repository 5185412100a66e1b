"""Agents and their tools: what they raise, and what they put out."""

from typing import Final

import pytest
from pydantic_ai import Agent, ModelRetry
from redis.asyncio import Redis
from support.model import (
    CallsTool,
    ModelServer,
    SaysText,
)
from support.model.asking import answer, responder_on

from ai_worker.models.run import AnyAgent
from ai_worker.responder import TextDelta, ToolCalling, ToolCompleted

GOOD: Final = SaysText("A good answer.")


def agent_with_tools() -> AnyAgent:
    agent = Agent(retries={"output": 0, "tools": 1})

    @agent.tool_plain
    def add(a: int, b: int) -> int:
        """Adds two numbers. The result is exact."""
        return a + b

    @agent.tool_plain
    def burst() -> str:
        """Bursts."""
        raise RuntimeError("secret")

    @agent.tool_plain
    def shy() -> str:
        """Wants to be asked in another way."""
        raise ModelRetry("not like this")

    return agent


async def test_a_tool_is_told_by_its_name_and_description(server: ModelServer, redis: Redis) -> None:
    """Never its arguments; what is said after it is a paragraph of its own."""
    server.play(CallsTool("add", '{"a": 1, "b": 2}', first="Let me see."), SaysText("Three."))
    answered = await answer(responder_on(server, redis, agent=agent_with_tools()))
    tools = [part for part in answered.parts if isinstance(part, ToolCalling | ToolCompleted)]
    assert tools == [ToolCalling("add", "Adds two numbers."), ToolCompleted("add")]
    assert answered.text == "Let me see.\n\nThree."
    assert (answered.facts["tokensIn"], answered.facts["tokensOut"]) == (22, 14)


async def test_a_tool_that_raises_ends_the_reply(server: ModelServer, redis: Redis) -> None:
    """It is not called twice, and what it said is told to nobody."""
    server.play(CallsTool("burst"))
    responder = responder_on(server, redis, models=("first", "second"), agent=agent_with_tools())
    answered = await answer(responder)
    assert (answered.code, len(server.asked)) == ("tool_failed", 1)
    assert "secret" not in repr(answered)


async def test_a_tool_may_ask_the_model_to_try_again(server: ModelServer, redis: Redis) -> None:
    """As the agent library has it; the room hears that it failed."""
    server.play(CallsTool("shy"), GOOD)
    answered = await answer(responder_on(server, redis, agent=agent_with_tools()))
    assert answered.text == "A good answer."
    assert ToolCompleted("shy", "It failed.") in answered.parts


async def test_a_call_that_stays_wrong_is_a_fault_of_the_model(server: ModelServer, redis: Redis) -> None:
    """A tool that there is not, again and again."""
    server.play(CallsTool("nonesuch"))
    answered = await answer(responder_on(server, redis, agent=agent_with_tools()))
    assert (answered.code, len(server.asked)) == ("model_malformed", 4)
    assert not [part for part in answered.parts if isinstance(part, ToolCalling)]


async def test_an_output_that_stays_wrong_is_a_fault_of_the_model(server: ModelServer, redis: Redis) -> None:
    """Of an agent that has no text for its output: the model did speak."""
    server.play(CallsTool("final_result", '{"response": "many"}'))
    answered = await answer(responder_on(server, redis, agent=Agent(output_type=int, retries={"output": 0})))
    assert (answered.code, len(server.asked)) == ("model_malformed", 2)


async def test_an_output_that_is_no_text_is_told_as_json(server: ModelServer, redis: Redis) -> None:
    """As its agent has it."""
    server.play(CallsTool("final_result", '{"response": 5}'))
    answered = await answer(responder_on(server, redis, agent=Agent(output_type=int)))
    assert (answered.text, answered.code) == ("5", None)


async def test_white_space_before_the_first_word_is_kept_until_it_comes(
    server: ModelServer, redis: Redis
) -> None:
    """So that an answer without a word is known before anything of it was shown."""
    server.play(SaysText(" " * 12 + "A good answer."))
    answered = await answer(responder_on(server, redis))
    first = next(part for part in answered.parts if isinstance(part, TextDelta))
    assert first.text.strip()
    assert answered.shown == [" " * 12 + "A good answer."]


async def test_a_bug_of_an_agent_is_left_to_the_worker(server: ModelServer, redis: Redis) -> None:
    """It is no fault of a model: the worker's own attempts are for it."""
    agent = Agent()

    @agent.instructions
    def broken() -> str:
        raise KeyError("bug")

    server.play(GOOD)
    with pytest.raises(KeyError, match="bug"):
        await answer(responder_on(server, redis, agent=agent))
