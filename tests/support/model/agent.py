"""An operator's own agent, for tests: `AI_AGENT=support.model.agent:agent`."""

from pydantic_ai import Agent, RunContext

from ai_worker.conversation import Conversation

agent = Agent(deps_type=Conversation, retries={"output": 0, "tools": 1})


@agent.instructions
def purpose(context: RunContext[Conversation]) -> str:
    """Answers what the chat's context says that it is for."""
    return f"Purpose: {context.deps.context.get('purpose', 'none')}"


@agent.tool_plain
def add(a: int, b: int) -> int:
    """Adds two numbers. The result is exact."""
    return a + b


@agent.tool_plain
def burst() -> str:
    """Bursts."""
    raise RuntimeError("a secret")
