"""The lock files against what the project says that it needs."""

import re
import tomllib
from pathlib import Path
from typing import Any, Final

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT: Final = Path(__file__).parents[3]
PROJECT: Final[dict[str, Any]] = tomllib.loads((ROOT / "pyproject.toml").read_text())
GROUPS: Final[dict[str, list[str]]] = PROJECT["dependency-groups"]
EXTRAS: Final[dict[str, list[str]]] = PROJECT["project"]["optional-dependencies"]
RUNTIME: Final[list[str]] = PROJECT["project"]["dependencies"] + GROUPS["build"]
MODELS: Final[list[str]] = [*RUNTIME, *EXTRAS["anthropic"], *EXTRAS["google"], *EXTRAS["openai"]]
LOCKS: Final = ("requirements.lock", "requirements-models.lock", "requirements-dev.lock")
"""Each holds the one before it."""


def pins(name: str) -> dict[str, str]:
    """Versions by package."""
    found = re.findall(r"^([\w.-]+)==(\S+) \\$", (ROOT / name).read_text(), re.MULTILINE)
    return {canonicalize_name(package): version for package, version in found}


@pytest.mark.parametrize(
    ("lock", "wanted"),
    list(zip(LOCKS, (RUNTIME, MODELS, MODELS + GROUPS["dev"]), strict=True)),
)
def test_what_the_project_needs_is_locked(lock: str, wanted: list[str]) -> None:
    """Each dependency of `pyproject.toml`, at a version that it allows; else `make lock` is due."""
    locked = pins(lock)
    for requirement in map(Requirement, wanted):
        assert requirement.specifier.contains(
            locked.get(canonicalize_name(requirement.name), "0"), prereleases=True
        )


def test_tests_run_on_what_users_get() -> None:
    """The development set holds the runtime set, and that of the models, at the same versions."""
    runtime, models, development = (pins(lock).items() for lock in LOCKS)
    assert runtime <= models <= development


@pytest.mark.parametrize("name", ["anthropic", "google-genai", "openai"])
def test_the_clients_of_the_providers_are_locked(name: str) -> None:
    """The image has them; `make run` alone does without."""
    assert name in pins("requirements-models.lock")
    assert name not in pins("requirements.lock")


@pytest.mark.parametrize("lock", LOCKS)
def test_a_lock_names_versions_and_hashes_alone(lock: str) -> None:
    """No address of an index or a file, no option; each package has a hash."""
    for line in (ROOT / lock).read_text().splitlines():
        assert re.fullmatch(r"|#.*|[\w.-]+==\S+ \\| {4}--hash=sha256:[0-9a-f]{64}( \\)?", line)
        assert "://" not in line


@pytest.mark.parametrize("name", ["Makefile", "Dockerfile"])
def test_what_is_locked_is_installed_without_resolving(name: str) -> None:
    """With `--require-hashes` alone, pip stops at a release newer than the lock where an extra is asked for.

    So it did for `google-auth[requests]`, which google-genai needs, a week after the lock was written.
    """
    installs = [line for line in (ROOT / name).read_text().splitlines() if "--require-hashes" in line]
    assert installs
    assert all("--no-deps" in install for install in installs)
