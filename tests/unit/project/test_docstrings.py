"""Docstrings say first what a thing is or does."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
FOLDERS = ["ai_worker", "bench", "chat_api", "examples", "roomcast", "shared", "tests", "ws_gateway"]
RIDDLES = {"How", "What", "Whatever", "When", "Where", "Whether", "Which", "Who", "Whoever", "Whose", "Why"}
"""Words with which a first line would speak around its subject instead of naming it."""


def riddles(source: str) -> Iterator[str]:
    """The first lines of docstrings in `source` that open with one of the words."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            line = (ast.get_docstring(node) or "").partition("\n")[0]
            if line.partition(" ")[0].strip(",.:;") in RIDDLES:
                yield line


@pytest.mark.parametrize("folder", FOLDERS)
def test_a_docstring_begins_with_what_it_is_about(folder: str) -> None:
    """Its first line is a noun phrase for a thing and a verb for a function, no question word."""
    found = [
        f"{path.relative_to(ROOT)}: {line}"
        for path in sorted((ROOT / folder).rglob("*.py"))
        if "node_modules" not in path.parts
        for line in riddles(path.read_text())
    ]
    assert found == []


def test_a_question_word_at_the_beginning_is_found() -> None:
    """In modules, classes and functions, those inside others too; elsewhere such a word is one like any."""
    source = '''
"""Whose turn it is."""

class Turn:
    """A turn, which is whose it is."""

    async def begins(self) -> bool:
        """Whether it does."""

        def inner() -> None:
            """What: a riddle.

            Who reads on finds out.
            """

    def whole(self) -> None:
        """Whole, and not by any of the words."""

    def without(self) -> None: ...
'''
    assert sorted(riddles(source)) == ["What: a riddle.", "Whether it does.", "Whose turn it is."]
