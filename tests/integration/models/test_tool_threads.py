"""Tools that are plain functions run in threads, which cannot be ended: nothing may wait for them."""

import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Final

import pytest
from pydantic_ai import Agent
from pydantic_ai.capabilities import UseThreadExecutor
from redis.asyncio import Redis
from support.model import CallsTool, ModelServer, SaysText
from support.model.asking import answer, responder_on

from ai_worker.models.tool_threads import ToolThreads

BLOCKED: Final = """
import asyncio, threading, time
from pydantic_ai import Agent
from pydantic_ai.models.test import TestModel
from ai_worker.models.prompt import Prompt
from ai_worker.models.run import Bounds, Run

agent = Agent()
began = threading.Event()

@agent.tool_plain
def blocks() -> str:
    began.set()
    time.sleep(600)

async def reply(called):
    bounds = Bounds(60, asyncio.get_running_loop().time() + 60)
    async for part in Run(agent, TestModel(), Prompt("", (), "hello"), None, bounds).parts():
        print(type(part).__name__)
        called.set()

async def main():
    called = asyncio.Event()
    running = asyncio.create_task(reply(called))
    await called.wait()
    await asyncio.to_thread(began.wait)
    running.cancel()
    await asyncio.wait([running])
    print("cancelled" if running.cancelled() else running.exception())

asyncio.run(main())
"""


def test_a_process_ends_though_a_tool_blocks() -> None:
    """A worker that is told to stop does, whatever an operator's tool waits for."""
    ended = subprocess.run(
        [sys.executable, "-c", BLOCKED], check=False, capture_output=True, text=True, timeout=60
    )
    assert ended.stdout.split() == ["ToolCalling", "cancelled"], ended.stderr


def test_what_a_call_raises_is_its_result() -> None:
    """As any executor has it."""
    failed = ToolThreads().submit(int, "x")
    with pytest.raises(ValueError, match="invalid literal"):
        failed.result(timeout=5)


async def test_an_agent_may_bring_threads_of_its_own(server: ModelServer, redis: Redis) -> None:
    """They are what its tools then run in."""
    names: list[str] = []
    with ThreadPoolExecutor(thread_name_prefix="own") as own:
        agent = Agent(capabilities=[UseThreadExecutor(own)])

        @agent.tool_plain
        def where() -> str:
            """Says where it runs."""
            names.append(threading.current_thread().name)
            return "here"

        server.play(CallsTool("where"), SaysText("There."))
        answered = await answer(responder_on(server, redis, agent=agent))
    assert (answered.text, names[0].split("_")[0]) == ("There.", "own")
