"""Finds the models that AI_MODEL names, or says what to set or to install."""

import os
import re
import sys
from collections.abc import MutableMapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from dotenv import dotenv_values
from pydantic_ai.exceptions import UserError
from pydantic_ai.models import Model, infer_model

from shared.config.start_errors import SettingsError

EXTRAS: Final = frozenset({"anthropic", "bedrock", "google", "groq", "mistral", "openai"})
"""Those of this package, by the names that pydantic-ai-slim gives to its own."""
OPENAI_HOST: Final = "api.openai.com"
_OPENAI: Final = frozenset({"openai", "openai-chat"})
_EXTRA: Final = re.compile(r"pydantic-ai-slim\[([\w-]+)\]")
_VARIABLE: Final = re.compile(r"\b[A-Z][A-Z0-9]*(?:_[A-Z0-9]+)+\b")
_FOR_PROVIDERS: Final = re.compile(r"_(API_KEY|TOKEN|BASE_URL|ENDPOINT|REGION)$")


@dataclass(frozen=True, slots=True)
class Candidate:
    """A model under the name that the operator gave it."""

    name: str
    model: Model


def candidates(names: tuple[str, ...]) -> list[Candidate]:
    """Returns the models of these names, in their order. No network is used.

    Raises:
        SettingsError: a line for each that cannot be used.
    """
    found: list[Candidate] = []
    wrong: list[str] = []
    for name in names:
        try:
            found.append(Candidate(name, _model(name)))
        except _UnusableError as error:
            wrong.append(f"AI_MODEL={name!r} {error}")
    if wrong:
        raise SettingsError(wrong)
    return found


def load_provider_variables(file: Path, environment: MutableMapping[str, str] = os.environ) -> None:
    """Copies providers' variables from `.env` into the environment, and unsets blank ones."""
    for name, value in {**dotenv_values(file), **environment}.items():
        if _FOR_PROVIDERS.search(name) and value and value.strip():
            environment[name] = value
        elif _FOR_PROVIDERS.search(name):
            environment.pop(name, None)


class _UnusableError(Exception):
    """A model's name that cannot be used; the text says what to do about it."""


def _model(name: str) -> Model:
    provider, _, model = name.partition(":")
    _require_usable_address(f"{provider.partition('-')[0].upper()}_BASE_URL")
    try:
        if provider in _OPENAI and (url := os.environ.get("OPENAI_BASE_URL")) and not _is_openai(url):
            return _compatible(model, url)
        return _strict(infer_model(name))
    except ImportError as error:
        raise _UnusableError(_to_install(error)) from None
    except UserError as error:
        raise _UnusableError(_to_set(error)) from None
    except Exception as error:  # whatever a provider's client raises over its own settings
        raise _UnusableError(f"cannot be used: {_first_line(error)}") from error


def _compatible(model: str, url: str) -> Model:
    """Returns the model on a server that speaks OpenAI's chat completions, as compatible ones do."""
    from pydantic_ai.models.openai import OpenAIChatModel  # noqa: PLC0415  # an extra
    from pydantic_ai.providers.openai_compatible import OpenAICompatibleProvider  # noqa: PLC0415

    key = os.environ.get("OPENAI_API_KEY")
    return _strict(
        OpenAIChatModel(model, provider=OpenAICompatibleProvider("openai", base_url=url, api_key=key))
    )


def _strict(model: Model) -> Model:
    """Returns the model, which takes a stream of chat completions without a `finish_reason` for broken."""
    if "openai" not in sys.modules:
        return model
    from pydantic_ai.models.openai import OpenAIChatModel  # noqa: PLC0415
    from pydantic_ai.profiles.openai import OpenAIModelProfile  # noqa: PLC0415

    if not isinstance(model, OpenAIChatModel) or model.provider is None:
        return model
    profile = OpenAIModelProfile(openai_chat_streaming_requires_finish_reason=True)
    return type(model)(model.model_name, provider=model.provider, profile=profile)


def _require_usable_address(variable: str) -> None:
    """Checks the address in a provider's variable, whose client would find it wrong with each reply only."""
    try:
        url = urlsplit(os.environ.get(variable) or "http://unset")
        usable = url.scheme in {"http", "https"} and url.hostname and url.port != 0
    except ValueError:
        usable = False
    if not usable:
        raise _UnusableError(f"cannot be asked: set {variable} to an address like http://localhost:11434/v1")


def _is_openai(url: str) -> bool:
    return urlsplit(url).hostname == OPENAI_HOST


def _to_install(error: ImportError) -> str:
    extra = _EXTRA.search(str(error))
    if extra is None:
        return f"needs a package that is not installed: {_first_line(error)}"
    if extra[1] not in EXTRAS:
        return f'needs more packages: pip install "pydantic-ai-slim[{extra[1]}]"'
    name, clone = f'pip install "roomcast[{extra[1]}]"', f'pip install -e ".[{extra[1]}]"'
    return f"needs the extra {extra[1]!r}: {name} (in a clone: .venv/bin/{clone})"


def _to_set(error: UserError) -> str:
    variables = dict.fromkeys(_VARIABLE.findall(error.message))
    if variables and not error.message.startswith("Unknown"):
        return f"needs {' or '.join(variables)}: set it, in the environment or in .env"
    return f"must be demo or a model's name like openai:gpt-5.2 ({_first_line(error)})"


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
