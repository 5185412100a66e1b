"""Runs `roomcast chat`: finds the servers, then leaves everything to the terminal client."""

import asyncio

from roomcast.chat.run import run_chat
from shared.config.addresses import base_url
from shared.config.settings import Settings
from shared.config.start_errors import SettingsError
from shared.process.runtime import refused


def main(
    *,
    user: str | None,
    password: str | None,
    chat: str | None,
    api_url: str | None,
    gateway_url: str | None,
) -> int:
    """Runs the client against the given addresses, else the configured ones; returns the exit status."""
    try:
        settings = Settings.load(**({} if api_url is None else {"api_url": api_url}))
    except SettingsError as error:
        return refused(error)
    gateway = gateway_url or base_url(settings.gateway_host, settings.gateway_port)
    return asyncio.run(
        run_chat(api_url=settings.api_url, gateway_url=gateway, username=user, password=password, chat=chat)
    )
