"""Settings of the worker."""

from typing import Annotated

from pydantic import Field

from shared.settings import Settings, for_text


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
