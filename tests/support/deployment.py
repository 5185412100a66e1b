"""Reads the deployment files as the programs that they are for do."""

import os
import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from unittest.mock import patch

import yaml

from ai_worker.settings import WorkerSettings
from chat_api.settings import ApiSettings
from shared.config.settings import Settings
from shared.process.service import NEEDED_LINKS
from ws_gateway.settings import GatewaySettings

ROOT: Final = Path(__file__).parents[2]
SCALED: Final = ("api", "gateway", "worker")
SETTINGS: Final[dict[str, type[Settings]]] = {
    "api": ApiSettings,
    "gateway": GatewaySettings,
    "worker": WorkerSettings,
    "migrate": ApiSettings,
}
"""The program's own services, and what each of them reads."""
_NEEDS: Final = {
    "api": (*NEEDED_LINKS, "database_url"),
    "gateway": NEEDED_LINKS,
    "worker": NEEDED_LINKS,
    "migrate": ("database_url",),
}
_VARIABLE: Final = re.compile(r"\$(?:\$|\{(?P<name>\w+)(?:(?P<operator>:?[-?])(?P<rest>[^}]*))?\})")
_UNITS: Final = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}


def interpolated(text: str, variables: Mapping[str, str]) -> str:
    """`text` with `${NAME}`, `${NAME-default}`, `${NAME:-default}` and `${NAME:?error}` filled in.

    Raises:
        ValueError: a variable that must be set is not, or a `$` is none of these.
    """
    if "$" in _VARIABLE.sub("", text):
        raise ValueError(f"not understood: {text}")

    def value(found: re.Match[str]) -> str:
        if found["name"] is None:
            return "$"
        given, operator = variables.get(found["name"]), found["operator"] or ""
        if given is not None and (given or not operator.startswith(":")):
            return given
        if operator.endswith("?"):
            raise ValueError(f"{found['name']}: {found['rest']}")
        return found["rest"] or ""

    return _VARIABLE.sub(value, text)


def compose(variables: Mapping[str, str] | None = None) -> dict[str, Any]:
    """compose.yaml as Compose sees it where the environment and `.env` hold `variables`."""

    def filled(node: Any) -> Any:
        match node:
            case str():
                return interpolated(node, variables or {})
            case dict():
                return {key: filled(value) for key, value in node.items()}
            case list():
                return [filled(value) for value in node]
            case _:
                return node

    found: dict[str, Any] = filled(yaml.safe_load(compose_text()))
    return found


def service(name: str, variables: Mapping[str, str] | None = None) -> dict[str, Any]:
    """One service of `compose`."""
    found: dict[str, Any] = compose(variables)["services"][name]
    return found


def settings_of(name: str, variables: Mapping[str, str] | None = None) -> Any:
    """Reads the settings that an own service makes of the environment that Compose gives it.

    Raises:
        SettingsError: it refuses to start.
    """
    environment = {key: str(value) for key, value in service(name, variables)["environment"].items()}
    with patch.dict(os.environ, environment, clear=True):
        return SETTINGS[name].load(needs=_NEEDS[name], _env_file=None)


def port_of(name: str) -> int:
    """Returns the port on which a scaled service listens."""
    port: int = getattr(settings_of(name), f"{name}_port")
    return port


def compose_text() -> str:
    """compose.yaml as it is."""
    return (ROOT / "compose.yaml").read_text()


def offered() -> set[str]:
    """The variables that compose.yaml takes from the environment."""
    return {found["name"] for found in _VARIABLE.finditer(compose_text()) if found["name"]}


def seconds(text: str) -> float:
    """`30s`, `250ms`, `2m` as seconds."""
    found = re.fullmatch(r"(\d+)(ms|s|m|h)", text)
    assert found, text
    return int(found[1]) * _UNITS[found[2]]


@dataclass(frozen=True, slots=True)
class Instruction:
    """One of a Dockerfile: `COPY`, and what follows it on its (joined) line."""

    name: str
    text: str

    @property
    def words(self) -> list[str]:
        """Returns the words that follow, without the options; of the JSON form, its items."""
        listed = yaml.safe_load(self.text) if self.text.startswith("[") else shlex.split(self.text)
        return [word for word in listed if not word.startswith("--")]


def dockerfile() -> list[list[Instruction]]:
    """The stages of the Dockerfile, each from its FROM on; what stands before the first is left out."""
    lines = [line for line in (ROOT / "Dockerfile").read_text().splitlines() if not line.startswith("#")]
    joined = re.sub(r"\\\n\s*", "", "\n".join(lines)).splitlines()
    stages: list[list[Instruction]] = []
    for line in filter(None, joined):
        name, _, text = line.partition(" ")
        if name == "FROM":
            stages.append([])
        if stages:
            stages[-1].append(Instruction(name, text.strip()))
    return stages


def instructions(name: str, stage: int = -1) -> list[Instruction]:
    """All of one name in a stage; without a stage, in the last."""
    return [instruction for instruction in dockerfile()[stage] if instruction.name == name]


@dataclass(frozen=True, slots=True)
class Section:
    """One section of the balancer's configuration."""

    kind: str
    name: str
    lines: tuple[tuple[str, ...], ...]

    def said(self, *beginning: str) -> list[tuple[str, ...]]:
        """Returns what follows `beginning` on each line that begins so."""
        length = len(beginning)
        return [line[length:] for line in self.lines if line[:length] == beginning]


def balancer() -> list[Section]:
    """The sections of deploy/haproxy.cfg."""
    found: list[tuple[str, str, list[tuple[str, ...]]]] = []
    for line in (ROOT / "deploy" / "haproxy.cfg").read_text().splitlines():
        words = tuple(shlex.split(line, comments=True))
        if words and not line.startswith(" "):
            found.append((words[0], " ".join(words[1:]), []))
        elif words:
            found[-1][2].append(words)
    return [Section(kind, name, tuple(lines)) for kind, name, lines in found]


def sections(kind: str) -> dict[str, Section]:
    """Those of one kind by name; `global` and `defaults` have none."""
    return {section.name: section for section in balancer() if section.kind == kind}
