"""Settings of the worker."""

from typing import Annotated

from pydantic import Field

from shared.settings import Settings, WholeNumber, for_text


def _known_model(name: str) -> str:
    if name != "demo":
        raise ValueError("this version has no other model yet")
    return name


def _no_agent(_: str) -> str:
    raise ValueError("this version has only the built-in agent")


class WorkerSettings(Settings):
    """What the worker reads beside what all services share."""

    ai_model: Annotated[str, for_text(_known_model)] = Field("demo", description="demo")
    ai_agent: Annotated[str | None, for_text(_no_agent)] = Field(None, description="left unset")
    ai_concurrency: Annotated[WholeNumber, Field(ge=1, le=1000)] = Field(
        32, description="how many replies one worker writes at once, 1 to 1000"
    )
    ai_chunk_ms: Annotated[WholeNumber, Field(ge=1, le=1000)] = Field(
        30, description="for how many milliseconds text waits for more at most, 1 to 1000"
    )
