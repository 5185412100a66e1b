"""Reads the settings of the worker."""

import re
from typing import Annotated, Final

from pydantic import Field
from pydantic_settings import NoDecode

from ai_worker.models.selection import DEMO, check
from shared.config.settings import Settings, WholeNumber, for_text

_MODEL: Final = re.compile(r"[a-z][\w./-]*:\S+", re.IGNORECASE)
_AGENT: Final = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*(\.[A-Za-z_]\w*)*")


def _models(text: str) -> tuple[str, ...]:
    names = tuple(dict.fromkeys(name.strip() for name in text.split(",") if name.strip()))
    if names == DEMO:
        return names
    if "demo" in names:
        raise ValueError("demo stands alone")
    for name in names:
        if not _MODEL.fullmatch(name):
            raise ValueError(f"{name} has no provider before a colon")
    if not names:
        raise ValueError("no name in it")
    return names


def _agent(text: str) -> str:
    if not _AGENT.fullmatch(text):
        raise ValueError("not of that form")
    return text


def _seconds(most: int) -> object:
    return Field(ge=1, le=most, description=f"a number of seconds, 1 to {most}")


class WorkerSettings(Settings):
    """The settings of the worker, beside those that all services share."""

    ai_model: Annotated[tuple[str, ...], NoDecode, for_text(_models)] = Field(
        DEMO,
        description="demo, or a model's name like openai:gpt-5.2, or several of these, comma-separated",
    )
    ai_agent: Annotated[str | None, for_text(_agent)] = Field(
        None, description="module:attribute of an agent, like assistants.rubric:agent"
    )
    ai_concurrency: Annotated[WholeNumber, Field(ge=1, le=1000)] = Field(
        32, description="how many replies one worker writes at once, 1 to 1000"
    )
    ai_chunk_ms: Annotated[WholeNumber, Field(ge=1, le=1000)] = Field(
        30, description="for how many milliseconds text waits for more at most, 1 to 1000"
    )
    ai_instructions: Annotated[
        str | None, Field(max_length=32_000, description="text of at most 32000 characters")
    ] = None
    ai_context_tokens: Annotated[
        WholeNumber, Field(ge=200, le=10_000_000, description="a number of tokens, 200 to 10000000")
    ] = 16_000
    ai_first_token_timeout: Annotated[WholeNumber, _seconds(600)] = 20
    ai_timeout: Annotated[WholeNumber, _seconds(1200)] = 120
    ai_breaker_failures: Annotated[
        WholeNumber, Field(ge=1, le=1000, description="a number of faults in a row, 1 to 1000")
    ] = 5
    ai_breaker_seconds: Annotated[WholeNumber, _seconds(3600)] = 30
    ai_cache_ttl: Annotated[
        WholeNumber, Field(ge=0, le=31_536_000, description="a number of seconds, 0 (off) to 31536000")
    ] = 0

    def verify(self) -> None:
        """Checks that there will be an assistant.

        Raises:
            SettingsError: names what to set or to install.
        """
        check(self.ai_model, self.ai_agent)
