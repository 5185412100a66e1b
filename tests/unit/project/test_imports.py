"""Who may import whom."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
PACKAGES = {"ai_worker", "chat_api", "roomcast", "shared", "ws_gateway"}
ALLOWED = {
    "shared": {"shared"},
    "ai_worker": {"ai_worker", "shared"},
    "chat_api": {"chat_api", "shared"},
    "ws_gateway": {"ws_gateway", "shared"},
    "roomcast": PACKAGES,
}


def imported(source: str) -> Iterator[str]:
    """The names of the modules that `source` imports, wherever in it."""
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Import():
                yield from (alias.name for alias in node.names)
            case ast.ImportFrom(module=str(module), level=0):
                yield module
            case ast.ImportFrom():
                yield "a relative import"
            case _:
                pass


def strangers(package: str) -> list[str]:
    return [
        f"{path.relative_to(ROOT)} imports {name}"
        for path in sorted((ROOT / package).rglob("*.py"))
        for name in imported(path.read_text())
        if name.partition(".")[0] in PACKAGES - ALLOWED[package] or name == "a relative import"
    ]


@pytest.mark.parametrize("package", sorted(PACKAGES))
def test_services_know_only_what_is_shared(package: str) -> None:
    """Services never import each other, `shared` imports none of them, only `roomcast` knows all."""
    assert strangers(package) == []


def test_an_import_inside_a_function_counts() -> None:
    """The rule cannot be got around."""
    source = "def f():\n    from chat_api.app import serve\n    import ws_gateway.app\n    from . import x\n"
    assert list(imported(source)) == ["chat_api.app", "ws_gateway.app", "a relative import"]
