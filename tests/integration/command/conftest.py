"""A server that misbehaves by a script."""

from collections.abc import AsyncIterator

import aiohttp
import pytest
from integration.command.chat_server import Server


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    server = Server()
    async with server.running():
        yield server


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as session:
        yield session
