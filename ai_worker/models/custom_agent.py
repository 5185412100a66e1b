"""Imports the operator's own agent: `AI_AGENT=module:attribute`."""

import os
import sys
from importlib import import_module
from operator import attrgetter

from pydantic_ai.agent import AbstractAgent
from pydantic_ai.models import Model

from ai_worker.models.candidates import Candidate, candidates
from ai_worker.models.run import AnyAgent
from shared.config.start_errors import SettingsError


def agent_at(path: str) -> AnyAgent:
    """Returns the agent `attribute` of `module`, which is looked for in the working folder too.

    Raises:
        SettingsError: there is none; says why.
    """
    module, _, attribute = path.partition(":")
    if (folder := os.getcwd()) not in sys.path:  # noqa: PTH109  # as Python itself puts it there
        sys.path.insert(0, folder)
    try:
        found = attrgetter(attribute)(import_module(module))
    except AttributeError as error:
        raise _wrong(path, f"{error}: set it to module:attribute of an agent") from error
    except (Exception, SystemExit) as error:
        reason = f"importing {module} failed with {type(error).__name__}: {error}"
        raise _wrong(path, f"{reason}: install what is missing, or set it to another module") from error
    if not isinstance(found, AbstractAgent):
        kind = type(found).__name__
        raise _wrong(
            path, f"is of type {kind}, not an agent: set it to module:attribute of a pydantic_ai.Agent"
        )
    return found


def model_of(agent: AnyAgent, path: str) -> Candidate:
    """Returns the model that the agent brings along.

    Raises:
        SettingsError: it brings none along that can be used.
    """
    match agent.model:
        case None:
            raise SettingsError(
                [f"AI_MODEL is not set, and the agent of AI_AGENT={path!r} has no model: set AI_MODEL"]
            )
        case Model() as model:
            return Candidate(model.model_id, model)
        case name:
            return candidates((str(name),))[0]


def _wrong(path: str, reason: str) -> SettingsError:
    return SettingsError([f"AI_AGENT={path!r} {reason}"])
