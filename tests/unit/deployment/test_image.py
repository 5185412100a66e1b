"""The image, and what its containers may do and are asked."""

import asyncio
import sys
import tomllib
from urllib.parse import urlsplit

import pytest
from aiohttp import web
from support.deployment import ROOT, SCALED, SETTINGS, compose, instructions, port_of, service, settings_of
from support.servers.ports import free_port

from shared.http import health as ops
from shared.http.server import http_server


def test_the_image_holds_what_was_locked_and_every_package() -> None:
    """Packages come from the lock file by hash, then the whole project without any more."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    copied = {word for copy in instructions("COPY", 0) for word in copy.words[:-1]}
    assert set(project["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]) < copied
    installs = [run.text for run in instructions("RUN", 0) if run.text.startswith("pip install")]
    assert ["--require-hashes" in install for install in installs] == [True, False]
    assert all("--no-deps" in install for install in installs)
    assert "-r requirements-models.lock" in installs[0]
    entry = instructions("ENTRYPOINT")[0].words
    assert entry == ["roomcast"]
    assert set(entry) <= project["project"]["scripts"].keys()


def test_the_image_is_built_from_what_it_needs_alone() -> None:
    """`.dockerignore` lets in what is copied and nothing else: no settings, keys or data."""
    first, *rules = [
        line
        for line in (ROOT / ".dockerignore").read_text().splitlines()
        if line and not line.startswith("#")
    ]
    copied = {word for copy in instructions("COPY", 0) for word in copy.words[:-1]}
    assert first == "*"
    assert {rule.removeprefix("!") for rule in rules if rule.startswith("!")} == copied
    assert all((ROOT / name).exists() for name in copied)


@pytest.mark.parametrize("name", SETTINGS)
def test_a_service_can_do_little(name: str) -> None:
    """It is not root, has no capability, cannot gain one and writes to nothing but a temporary folder."""
    own = service(name)
    assert own["cap_drop"] == ["ALL"]
    assert own["security_opt"] == ["no-new-privileges:true"]
    assert (own["read_only"], own["init"], own["tmpfs"]) == (True, True, ["/tmp"])
    assert not own.keys() & {"cap_add", "user", "privileged", "entrypoint"}
    assert (own["image"], own["build"]) == ("roomcast", ".")
    (user,) = instructions("USER")
    identity, group = (int(number) for number in user.text.split(":"))
    assert min(identity, group) >= 1000
    assert any(
        f"--uid {identity}" in run.text and f"--gid {group}" in run.text for run in instructions("RUN")
    )


def test_images_have_versions() -> None:
    """No image changes its major version by itself."""
    images = {name: each["image"] for name, each in compose()["services"].items() if name not in SETTINGS}
    assert all(image.partition(":")[2][:1].isdigit() for image in images.values()), images


@pytest.mark.parametrize("name", SCALED)
def test_a_service_listens_for_others(name: str) -> None:
    """It listens on all addresses of its container, on a port that is exposed and needs no right."""
    settings = settings_of(name)
    assert getattr(settings, f"{name}_host") == "0.0.0.0"
    port = port_of(name)
    assert str(port) in instructions("EXPOSE")[0].words
    assert port >= 1024


@pytest.mark.parametrize("name", SCALED)
async def test_the_health_check_asks_whether_the_service_is_ready(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The check's own command, run here, passes on 200 and fails on 503 and when nothing listens."""
    shell, python, *command, url = service(name)["healthcheck"]["test"]
    address = urlsplit(url)
    assert (shell, python, address.hostname) == ("CMD", "python", "127.0.0.1")
    assert address.port == port_of(name)
    assert address.path == "/readyz"
    ready = True

    async def dependency() -> None:
        if not ready:
            raise OSError

    async def status() -> int:
        here = url.replace(f":{address.port}/", f":{port}/")
        check = await asyncio.create_subprocess_exec(
            sys.executable, *command, here, stderr=asyncio.subprocess.DEVNULL
        )
        return await check.wait()

    served, port = web.Application(), free_port()
    served.add_routes(ops.ops_routes({"dependency": dependency}))
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    async with http_server(served, "127.0.0.1", port, variables="TEST"):
        assert await status() == 0
        ready = False
        assert await status() != 0
    assert await status() != 0
