"""Runs a chat in the terminal: chooses the screen, logs in, opens a chat, says what goes wrong."""

import os
import sys
from collections.abc import Coroutine

import aiohttp

from roomcast.chat.client import Client
from roomcast.chat.connection.rest import ChatError, Rest
from roomcast.chat.lobby import choose_chat, log_in
from roomcast.chat.screens.plain import PlainScreen
from roomcast.chat.screens.screen import Screen
from roomcast.chat.screens.terminal import TerminalScreen

INTERRUPTED = 130


async def run_chat(
    *, api_url: str, gateway_url: str, username: str | None, password: str | None, chat: str | None
) -> int:
    """Logs in, opens a chat and lets a person, or a script, take part in it.

    What is None is asked for; the password is taken from `ROOMCAST_PASSWORD` before. Without a terminal,
    answers and messages are lines of stdin; at its end the replies to what was posted are waited for.

    Args:
        api_url: where the API is, like `http://127.0.0.1:8000`.
        gateway_url: where the gateway is, like `http://127.0.0.1:3001`.
        username: who to log in as.
        password: with what.
        chat: a chat's title or id.

    Returns:
        The exit status: 0 at an orderly end; 1 when something did not work, which was said; 130 when a
        question was answered with Ctrl-C.
    """
    screen: Screen
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        screen = PlainScreen()
        return await _guarded(screen, _chat(screen, api_url, gateway_url, username, password, chat))
    screen = TerminalScreen()
    with screen.shown():
        return await _guarded(screen, _chat(screen, api_url, gateway_url, username, password, chat))


async def _guarded(screen: Screen, chatting: Coroutine[None, None, int]) -> int:
    try:
        return await chatting
    except ChatError as error:
        screen.notice(str(error))
    except EOFError:
        screen.notice("There was no answer. --user, --password and --chat answer before being asked.")
    except KeyboardInterrupt:
        return INTERRUPTED
    return 1


async def _chat(
    screen: Screen,
    api_url: str,
    gateway_url: str,
    username: str | None,
    password: str | None,
    chat: str | None,
) -> int:
    async with aiohttp.ClientSession() as http:
        rest = Rest(http, api_url)
        account = await log_in(rest, screen, username, password or os.environ.get("ROOMCAST_PASSWORD"))
        screen.notice(f"Logged in as {account.user.display_name}; :help shows what else there is.")
        chat_id = await choose_chat(account, screen, chat)
        return await Client(http, gateway_url, account, screen).run(chat_id)
