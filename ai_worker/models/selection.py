"""The agent and the models that AI_AGENT and AI_MODEL name.

The agent library is imported only where a model is asked: the demo does without.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from ai_worker.models.candidates import Candidate
    from ai_worker.models.run import AnyAgent

DEMO: Final = ("demo",)


def is_demo(models: tuple[str, ...], agent_path: str | None) -> bool:
    """Returns whether the demo answers, so that no model is asked."""
    return models == DEMO and agent_path is None


def check(models: tuple[str, ...], agent_path: str | None) -> None:
    """Checks that there will be an assistant of these names; asks nobody over a network.

    Raises:
        SettingsError: names what to set or to install.
    """
    if not is_demo(models, agent_path):
        agent_and_candidates(models, agent_path)


def agent_and_candidates(
    models: tuple[str, ...], agent_path: str | None
) -> "tuple[AnyAgent, list[Candidate]]":
    """Returns the agent, and the models that it may use, in their order.

    Raises:
        SettingsError: see `check`.
    """
    from ai_worker.models.candidates import candidates, load_provider_variables  # noqa: PLC0415
    from ai_worker.models.custom_agent import agent_at, model_of  # noqa: PLC0415
    from ai_worker.models.run import built_in_agent  # noqa: PLC0415

    load_provider_variables(Path(".env"))
    if agent_path is None:
        return built_in_agent(), candidates(models)
    agent = agent_at(agent_path)
    if models == DEMO:
        return agent, [model_of(agent, agent_path)]
    return agent, candidates(models)
