"""From AI_MODEL and AI_AGENT to an assistant, or to a line that says what to set or to install."""

import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from pydantic_ai import Agent
from pydantic_ai.models.openai import OpenAIChatModel, OpenAIResponsesModel

from ai_worker.models.candidates import candidates, load_provider_variables
from ai_worker.models.custom_agent import agent_at, model_of
from ai_worker.settings import WorkerSettings
from shared.config.start_errors import SettingsError


@pytest.fixture(autouse=True)
def empty_ground(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No `.env`, no setting, no provider's variable; what a test sets in the environment goes with it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    for name in list(os.environ):
        if name.startswith(("AI_", "OPENAI_", "ANTHROPIC_", "GOOGLE_", "GEMINI_", "GROQ_", "OLLAMA_")):
            monkeypatch.delenv(name)


def refusal(**settings: Any) -> str:
    with pytest.raises(SettingsError) as caught:
        WorkerSettings.load(**settings)
    return str(caught.value)


@pytest.mark.parametrize(
    ("model", "variable"),
    [
        ("openai:gpt-5.2", "OPENAI_API_KEY"),
        ("openai-chat:gpt-5.2", "OPENAI_API_KEY"),
        ("anthropic:claude-sonnet-4-5", "ANTHROPIC_API_KEY"),
        ("google:gemini-2.5-pro", "GOOGLE_API_KEY"),
        ("ollama:llama3", "OLLAMA_BASE_URL"),
    ],
)
def test_a_missing_key_is_named(model: str, variable: str) -> None:
    """With the model that needs it; the program does not start."""
    assert (
        refusal(ai_model=model)
        == f"AI_MODEL={model!r} needs {variable}: set it, in the environment or in .env"
    )


@pytest.mark.parametrize("url", ["nonsense", "localhost:11434/v1", "http://", "http://localhost:99999/v1"])
@pytest.mark.parametrize("provider", ["openai", "ollama"])
def test_an_address_that_is_none_is_refused(monkeypatch: pytest.MonkeyPatch, provider: str, url: str) -> None:
    """The line names the variable, and not what is in it: there may be a password."""
    variable = f"{provider.upper()}_BASE_URL"
    monkeypatch.setenv(variable, url)
    monkeypatch.setenv("OPENAI_API_KEY", "key")
    line = refusal(ai_model=f"{provider}:any")
    assert line == (
        f"AI_MODEL='{provider}:any' cannot be asked: set {variable} to an address"
        " like http://localhost:11434/v1"
    )


def test_each_model_that_cannot_be_used_has_its_line() -> None:
    """Fallbacks too."""
    lines = refusal(ai_model="openai:a, anthropic:b").splitlines()
    assert [line.split()[0] for line in lines] == ["AI_MODEL='openai:a'", "AI_MODEL='anthropic:b'"]


def test_a_missing_extra_is_named() -> None:
    """With what installs it; of the client of another provider, that it is the library's."""
    assert 'pip install "roomcast[groq]"' in refusal(ai_model="groq:llama")
    assert 'pip install "pydantic-ai-slim[xai]"' in refusal(ai_model="xai:grok")


@pytest.mark.parametrize("name", ["gpt-5", "nonesuch:model", "demo,openai:gpt", ",", "openai:"])
def test_an_unknown_model_is_refused(name: str) -> None:
    """The line names the variable, and what it may be."""
    line = refusal(ai_model=name)
    assert line.startswith("AI_MODEL=")
    assert "must be demo" in line


@pytest.mark.parametrize(
    ("variable", "names"),
    [
        ("ANTHROPIC_API_KEY", ("anthropic:claude-sonnet-4-5",)),
        ("GOOGLE_API_KEY", ("google:gemini-2.5-pro",)),
        ("OPENAI_API_KEY", ("openai:gpt-5.2", "openai-chat:gpt-5.2", "openai-responses:gpt-5.2")),
    ],
)
def test_with_its_key_a_model_is_there(
    monkeypatch: pytest.MonkeyPatch, variable: str, names: tuple[str, ...]
) -> None:
    """In the order given, under the operator's names; nobody is asked over the network."""
    monkeypatch.setenv(variable, "key")
    assert WorkerSettings.load(ai_model=",".join(names)).ai_model == names
    assert tuple(candidate.name for candidate in candidates(names)) == names


def test_compatible_servers_are_spoken_to_in_chat_completions(monkeypatch: pytest.MonkeyPatch) -> None:
    """That is what they have in common; OpenAI itself is asked as the library does it."""
    monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:9/v1")
    (compatible,) = candidates(("openai:step-2",))
    assert isinstance(compatible.model, OpenAIChatModel)
    assert compatible.model.base_url.startswith("http://127.0.0.1:9/v1")
    monkeypatch.setenv("OPENAI_BASE_URL", "https://api.openai.com/v1")
    monkeypatch.setenv("OPENAI_API_KEY", "key")
    assert isinstance(candidates(("openai:gpt-5.2",))[0].model, OpenAIResponsesModel)


def test_providers_find_their_variables_in_the_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The environment wins; blank ones count as not set; settings of others stay where they are."""
    file = tmp_path / ".env"
    file.write_text("OPENAI_API_KEY=file\nGROQ_API_KEY=file\nOPENAI_BASE_URL=\nDATA_DIR=x\n")
    environment = {"GROQ_API_KEY": "own", "GOOGLE_API_KEY": " ", "PATH": "/bin"}
    load_provider_variables(file, environment)
    assert environment == {"OPENAI_API_KEY": "file", "GROQ_API_KEY": "own", "PATH": "/bin"}


def module_with(monkeypatch: pytest.MonkeyPatch, **attributes: object) -> None:
    module = ModuleType("operators")
    vars(module).update(attributes)
    monkeypatch.setitem(sys.modules, "operators", module)


def test_an_own_agent_is_found_in_the_working_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Nothing has to be installed for it."""
    (tmp_path / "homemade.py").write_text("from pydantic_ai import Agent\nagent = Agent(name='mine')\n")
    assert agent_at("homemade:agent").name == "mine"
    monkeypatch.delitem(sys.modules, "homemade")


def test_a_module_that_gives_up_is_told_of(tmp_path: Path) -> None:
    """Its own words do not say who asked for it."""
    (tmp_path / "gives_up.py").write_text("import sys\nsys.exit('no key for the shop')\n")
    line = refusal(ai_agent="gives_up:agent")
    assert line.startswith("AI_AGENT='gives_up:agent' importing gives_up failed with SystemExit: no key")


def test_an_own_agent_may_bring_its_model(monkeypatch: pytest.MonkeyPatch) -> None:
    """AI_MODEL then need not be set; where it has none either, that is said."""
    monkeypatch.setenv("OPENAI_API_KEY", "key")
    module_with(monkeypatch, named=Agent("openai:gpt-5.2"), made=Agent("test"), bare=Agent())
    assert model_of(agent_at("operators:named"), "operators:named").name == "openai:gpt-5.2"
    assert WorkerSettings.load(ai_agent="operators:named").ai_model == ("demo",)
    assert refusal(ai_agent="operators:bare").startswith("AI_MODEL is not set, and the agent of AI_AGENT=")


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("nonesuch:agent", "No module named 'nonesuch'"),
        ("operators:nonesuch", "no attribute 'nonesuch'"),
        ("operators:number", "is of type int, not an agent"),
        ("operators", "must be module:attribute"),
        ("operators:", "must be module:attribute"),
        ("os.path:not an attribute", "must be module:attribute"),
    ],
)
def test_what_is_no_agent_is_refused(monkeypatch: pytest.MonkeyPatch, path: str, reason: str) -> None:
    """The line names AI_AGENT and says why."""
    module_with(monkeypatch, number=5)
    line = refusal(ai_agent=path)
    assert line.startswith(f"AI_AGENT={path!r}")
    assert reason in line


def test_a_module_that_fails_is_told_with_its_error(tmp_path: Path) -> None:
    """It may raise anything while it is imported."""
    (tmp_path / "broken_module.py").write_text("raise RuntimeError('no licence')\n")
    assert "RuntimeError: no licence" in refusal(ai_agent="broken_module:agent")


def test_the_demo_does_without_the_agent_library() -> None:
    """It costs neither its second at the start nor its memory."""
    program = (
        "import sys, ai_worker.app; from ai_worker.settings import WorkerSettings as S; S.load();"
        " sys.exit('pydantic_ai' in sys.modules)"
    )
    root = str(Path(__file__).parents[3])
    assert (
        subprocess.run(
            [sys.executable, "-c", program], env={**os.environ, "PYTHONPATH": root}, check=False
        ).returncode
        == 0
    )
