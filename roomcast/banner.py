"""Prints the addresses and logins of a running `roomcast up`."""

import shlex
import shutil
import sys
from pathlib import Path
from typing import Final, Protocol

from roomcast.demo import ASSISTANT_TITLE, PASSWORD, Demo
from shared.config.addresses import base_url

_WIDTH: Final = 10
_USUAL_API: Final = "http://127.0.0.1:8000"
_USUAL_GATEWAY: Final = "http://127.0.0.1:3001"
_TOKEN_IN_ANSWER: Final = """sed 's/.*"accessToken":"\\([^"]*\\).*/\\1/'"""  # noqa: S105  # says where it is


class Addresses(Protocol):
    """The addresses that the services listen on."""

    @property
    def api_host(self) -> str: ...  # noqa: D102
    @property
    def api_port(self) -> int: ...  # noqa: D102
    @property
    def gateway_host(self) -> str: ...  # noqa: D102
    @property
    def gateway_port(self) -> int: ...  # noqa: D102


def show(addresses: Addresses, demo: Demo | None) -> None:
    """Prints the banner to stdout; bold on a terminal."""
    api = base_url(addresses.api_host, addresses.api_port)
    gateway = base_url(addresses.gateway_host, addresses.gateway_port)
    lines = [("API", api), ("API docs", f"{api}/docs"), ("Socket.IO", gateway)]
    lines += [] if demo is None else _demo_lines(api, gateway, demo)
    bold, plain = ("\x1b[1m", "\x1b[0m") if sys.stdout.isatty() else ("", "")
    text = "".join(f"  {bold}{name:<{_WIDTH}}{plain} {value}\n" for name, value in lines)
    sys.stdout.write(f"\n  {bold}Roomcast is ready{plain} (Ctrl-C stops it)\n\n{text}\n")
    sys.stdout.flush()


def _demo_lines(api: str, gateway: str, demo: Demo) -> list[tuple[str, str]]:
    logins = [("Log in as", f"{name}, password {PASSWORD}") for name in demo.usernames]
    return [*logins, ("Chat", _chat_line(api, gateway)), ("Post", _curl_line(api, demo.chat_id))]


def _chat_line(api: str, gateway: str) -> str:
    """Returns the command that opens the chat with the assistant."""
    words = [_command(), "chat", "--user", "alice", "--password", PASSWORD, "--chat", ASSISTANT_TITLE]
    words += [] if api == _USUAL_API else ["--api-url", api]
    words += [] if gateway == _USUAL_GATEWAY else ["--gateway-url", gateway]
    return shlex.join(words)


def _curl_line(api: str, chat_id: str) -> str:
    """Returns a command that logs in and posts; needs nothing but a shell, curl and sed."""
    json = "-H 'Content-Type: application/json'"
    login = f'{{"username":"alice","password":"{PASSWORD}"}}'
    token = f"$(curl -s {api}/api/auth/login {json} -d '{login}' | {_TOKEN_IN_ANSWER})"
    message = f'{{"chatId":"{chat_id}","content":"Hello from curl"}}'
    return f"curl -s {api}/api/chat/messages -H \"Authorization: Bearer {token}\" {json} -d '{message}'"


def _command() -> str:
    """Returns the command that starts this program from here: its name when that finds it, else its path."""
    program = Path(sys.argv[0])
    found = shutil.which("roomcast")
    if found is not None and program.exists() and Path(found).samefile(program):
        return "roomcast"
    absolute = program.absolute()
    return str(absolute.relative_to(Path.cwd())) if absolute.is_relative_to(Path.cwd()) else str(absolute)
