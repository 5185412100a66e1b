"""Documents and docstrings name files that are there."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
TOP = (
    "ai_worker",
    "bench",
    "chat_api",
    "deploy",
    "docs",
    "examples",
    "roomcast",
    "shared",
    "tests",
    "ws_gateway",
)
NAMED = re.compile(rf"(?<![\w/.-])((?:{'|'.join(TOP)})/[\w/.-]*\w/?)")
MADE = {"bench/results"}
"""Folders that a run makes."""
DOCUMENTS = ["CONTRIBUTING.md", "README.md", *(str(path.relative_to(ROOT)) for path in ROOT.glob("d*/*.md"))]


def missing(text: str) -> Iterator[str]:
    """The paths in `text` that lead nowhere; a `*` ends a path."""
    for path in NAMED.findall(text):
        if path.rstrip("/") not in MADE and not (ROOT / path).exists():
            yield path


@pytest.mark.parametrize("document", DOCUMENTS)
def test_a_document_names_files_that_exist(document: str) -> None:
    """A reader finds what is named, after every move."""
    assert sorted(set(missing((ROOT / document).read_text()))) == []


@pytest.mark.parametrize("package", ["ai_worker", "chat_api", "roomcast", "shared", "ws_gateway"])
def test_code_names_files_that_exist(package: str) -> None:
    """In docstrings, comments and messages alike."""
    found = {
        f"{path.relative_to(ROOT)}: {name}"
        for path in (ROOT / package).rglob("*.py")
        for name in missing(path.read_text())
    }
    assert sorted(found) == []


def test_a_path_that_leads_nowhere_is_found() -> None:
    text = "See `shared/bus/nowhere.py`, `shared/bus/local.py`, tests/unit and https://example.org/docs/x."
    assert list(missing(text)) == ["shared/bus/nowhere.py"]
