"""The lock files against what the project says that it needs."""

import re
import tomllib
from pathlib import Path
from typing import Any, Final

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT: Final = Path(__file__).parents[2]
PROJECT: Final[dict[str, Any]] = tomllib.loads((ROOT / "pyproject.toml").read_text())
GROUPS: Final[dict[str, list[str]]] = PROJECT["dependency-groups"]
RUNTIME: Final[list[str]] = PROJECT["project"]["dependencies"] + GROUPS["build"]


def pins(name: str) -> dict[str, str]:
    """Versions by package."""
    found = re.findall(r"^([\w.-]+)==(\S+) \\$", (ROOT / name).read_text(), re.MULTILINE)
    return {canonicalize_name(package): version for package, version in found}


@pytest.mark.parametrize(
    ("lock", "wanted"),
    [("requirements.lock", RUNTIME), ("requirements-dev.lock", RUNTIME + GROUPS["dev"])],
)
def test_what_the_project_needs_is_locked(lock: str, wanted: list[str]) -> None:
    """Each dependency of `pyproject.toml`, at a version that it allows; else `make lock` is due."""
    locked = pins(lock)
    for requirement in map(Requirement, wanted):
        assert requirement.specifier.contains(
            locked.get(canonicalize_name(requirement.name), "0"), prereleases=True
        )


def test_tests_run_on_what_users_get() -> None:
    """The development set holds the runtime set, at the same versions."""
    assert pins("requirements.lock").items() <= pins("requirements-dev.lock").items()


@pytest.mark.parametrize("lock", ["requirements.lock", "requirements-dev.lock"])
def test_a_lock_names_versions_and_hashes_alone(lock: str) -> None:
    """No address of an index or a file, no option; each package has a hash."""
    for line in (ROOT / lock).read_text().splitlines():
        assert re.fullmatch(r"|#.*|[\w.-]+==\S+ \\| {4}--hash=sha256:[0-9a-f]{64}( \\)?", line)
        assert "://" not in line
