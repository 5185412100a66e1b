"""`roomcast up`: what a new user starts first."""

import asyncio
import json
import os
import shutil
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path

import aiohttp
import pytest
from support.program import Up, roomcast, shell, up
from support.servers import PostgresServer, RabbitServer, RedisServer
from support.servers.ports import free_port
from support.servers.process import Folder


@contextmanager
def home_folder() -> Iterator[Path]:
    """A folder that PostgreSQL may pass through when root runs the tests, unlike pytest's own."""
    folder = Folder("up")
    folder.path.chmod(0o711)
    try:
        yield folder.path
    finally:
        folder.remove()


@pytest.fixture
def home() -> Iterator[Path]:
    """An empty folder to start it in."""
    with home_folder() as path:
        yield path


@pytest.fixture(scope="module")
async def served() -> AsyncIterator[Up]:
    """One that runs, for tests that leave it as it is."""
    with home_folder() as folder:
        async with up(folder) as running:
            await running.ready()
            yield running


async def status(running: Up, variable: str, path: str) -> int:
    url = f"http://127.0.0.1:{running.ports[variable]}{path}"
    async with aiohttp.ClientSession() as http, http.get(url) as response:
        return response.status


def alive(pid: int) -> bool:
    """Returns whether the process runs; one that only waits to be buried does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


async def test_it_serves_what_its_banner_says(served: Up) -> None:
    """In an empty folder: the addresses answer, every service is ready, two logins are printed."""
    for variable in served.ports:
        assert await status(served, variable, "/readyz") == 200
    assert served.banner["API"] == f"http://127.0.0.1:{served.ports['API_PORT']}"
    assert served.banner["Socket.IO"] == f"http://127.0.0.1:{served.ports['GATEWAY_PORT']}"
    async with aiohttp.ClientSession() as http, http.get(served.banner["API docs"]) as response:
        assert response.status == 200
    assert served.banner["Log in as"] == "bob, password roomcast-demo"


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
async def test_the_printed_curl_line_posts_a_message(served: Up) -> None:
    """Pasted as it is, it answers with the message."""
    message = json.loads(await shell(served.banner["Post"], cwd=served.folder))
    assert (message["content"], message["role"], message["seq"]) == ("Hello from curl", "USER", 1)


async def test_the_printed_chat_line_talks_to_the_assistant(served: Up) -> None:
    """Pasted as it is, it takes a line and shows the reply."""
    said = await shell(served.banner["Chat"], cwd=served.folder, typed="purple giraffe\n")
    assert said.count("purple giraffe") >= 1
    assert "demo" in said


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
async def test_a_signal_stops_everything_in_good_order(home: Path, how: signal.Signals) -> None:
    """Ctrl-C, which reaches the whole process group, and SIGTERM: status 0, no PostgreSQL left."""
    async with up(home) as running:
        await running.ready()
        postgres = running.postgres
        assert postgres is not None
        assert await running.stop(how) == 0
        assert "Traceback" not in running.errors
        assert not alive(postgres)
        assert running.postgres is None


async def test_a_signal_during_the_start_leaves_nothing_behind(home: Path) -> None:
    """A Ctrl-C while it starts is a stop in good order too."""
    async with up(home) as running:
        async with asyncio.timeout(20):
            while running.postgres is None:  # noqa: ASYNC110  # a file of another process
                await asyncio.sleep(0.01)
        assert await running.stop() == 0
        assert running.postgres is None


async def test_the_next_one_takes_over_what_a_killed_one_left(home: Path) -> None:
    """The same PostgreSQL, with everything in it, and stopped in the end."""
    async with up(home) as killed:
        await killed.ready()
        postgres = killed.postgres
        assert await killed.stop(signal.SIGKILL) == -signal.SIGKILL
    assert postgres is not None
    assert alive(postgres)
    async with up(home, **killed.ports) as running:
        await running.ready()
        assert running.postgres == postgres
        assert running.banner == killed.banner
        assert await running.stop() == 0
    assert not alive(postgres)


async def test_a_pid_file_of_a_machine_that_went_down_harms_nothing(home: Path) -> None:
    """Its pid may be another program's by now, which is left alone."""
    async with up(home, "--no-demo") as running:
        await running.ready()
        pid_file = running.data / "postgres" / "postmaster.pid"
        lines = pid_file.read_text().splitlines()
        await running.stop()
    pid_file.write_text("\n".join([str(os.getpid()), *lines[1:]]) + "\n")
    shutil.chown(pid_file, pid_file.parent.stat().st_uid)
    async with up(home, "--no-demo") as again:
        await again.ready()


async def test_a_second_one_on_the_same_folder_is_refused(served: Up) -> None:
    """It says why, and the first goes on."""
    second = await roomcast("up", cwd=served.folder)
    assert second.status == 1
    assert second.errors.startswith("Another `roomcast up` runs on DATA_DIR=.roomcast")
    assert await status(served, "API_PORT", "/readyz") == 200


async def test_a_folder_that_cannot_be_written_is_named(home: Path) -> None:
    """The message names the variable, the folder and the reason."""
    (home / "file").touch()
    refused = await roomcast("up", cwd=home, DATA_DIR="file/data")
    assert refused.status == 1
    assert refused.errors == (
        "DATA_DIR=file/data cannot be written (Not a directory): set it to another folder.\n"
    )


async def test_a_taken_port_is_named_and_nothing_is_left_running(home: Path) -> None:
    """Whichever service it is, all the others stop, PostgreSQL too."""
    port = free_port()
    blocker = await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", port)
    async with blocker, up(home, GATEWAY_PORT=str(port)) as running:
        assert await running.ended() == 1
        assert f"Port {port} on 127.0.0.1 is taken" in running.errors
        assert "GATEWAY_PORT" in running.errors
        assert "Traceback" not in running.errors
        assert running.postgres is None


async def test_any_folder_will_do(home: Path) -> None:
    """Spaces, quotes, commas, and a path too long for a Unix socket; what was stored is there again."""
    folder = home / "a folder, with 'signs' & \"more\" ü" / ("deep/" * 30)
    folder.mkdir(parents=True)
    for _ in range(2):
        async with up(folder) as running:
            await running.ready()
            assert await running.stop() == 0


async def test_what_is_not_postgresql_data_is_left_alone(home: Path) -> None:
    """A folder with something else in the database's place is refused, not overwritten."""
    other = home / ".roomcast" / "postgres" / "letter.txt"
    other.parent.mkdir(parents=True)
    other.write_text("dear")
    refused = await roomcast("up", cwd=home)
    assert refused.status == 1
    assert "holds no PostgreSQL data" in refused.errors
    assert other.read_text() == "dear"


@pytest.mark.parametrize(("arguments", "variables"), [(["--no-demo"], {}), ([], {"API_HOST": "0.0.0.0"})])
async def test_demo_logins_are_made_only_where_nobody_else_reaches_them(
    home: Path, arguments: list[str], variables: dict[str, str]
) -> None:
    """Not when they are not wanted, and not on an address of the network."""
    async with up(home, *arguments, **variables) as running:
        await running.ready()
        assert "Log in as" not in running.banner
        login = {"username": "alice", "password": "roomcast-demo"}
        url = f"http://127.0.0.1:{running.ports['API_PORT']}/api/auth/login"
        async with aiohttp.ClientSession() as http, http.post(url, json=login) as response:
            assert response.status == 401


async def test_real_servers_take_the_place_of_embedded_ones(
    home: Path, postgres: PostgresServer, rabbitmq: RabbitServer, redis_server: RedisServer
) -> None:
    """Each that is configured is used: its schema is made, nothing is embedded, no demo logins are made."""
    url = await postgres.new_database()
    links = {"DATABASE_URL": url, "RABBITMQ_URL": rabbitmq.url, "REDIS_URL": redis_server.url}
    async with up(home, **links) as running:
        await running.ready()
        for variable in running.ports:
            assert await status(running, variable, "/readyz") == 200
        assert "Log in as" not in running.banner
        assert not (running.data / "postgres").exists()
