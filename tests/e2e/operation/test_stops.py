"""Orderly stops: what a client notices of a service that is restarted."""

import asyncio
from collections.abc import AsyncIterator
from itertools import cycle

import aiohttp
import pytest
from support.rest import Api, Person
from support.servers.ports import free_port
from support.stack import Service, Services

POSTERS = 12
RESTARTS = 3


@pytest.fixture
async def restarted(services: Services) -> AsyncIterator[Service]:
    """A second API, which is restarted while the block runs."""
    port = str(free_port())
    yield await services.add("api", API_PORT=port)
    for api in [api for api in services.apis if api.url.endswith(port)]:
        await services.remove(api)


async def test_restarting_an_api_fails_no_post(services: Services, restarted: Service) -> None:
    """A client that tries another API when a connection is refused, and only then, sees no failure.

    Its posts carry no key: whatever it would have to send again might be stored twice.
    """
    urls = [services.api.url, restarted.url]
    done = asyncio.Event()
    async with Api(services.api.url) as api:
        alice = await api.register("alice")
        chat_id = await alice.open_chat()
        async with asyncio.TaskGroup() as group:
            posters = [group.create_task(_poster(alice, chat_id, n, urls, done)) for n in range(POSTERS)]
            api_now = restarted
            for _ in range(RESTARTS):
                await asyncio.sleep(0.5)
                began = asyncio.get_running_loop().time()
                assert await services.remove(api_now) == 0, api_now.process.output[-2_000:]
                assert asyncio.get_running_loop().time() - began < 3
                api_now = await services.add("api", API_PORT=restarted.url.rpartition(":")[2])
            await asyncio.sleep(0.5)
            done.set()
        told = sorted(content for poster in posters for content in poster.result())
        stored: list[dict[str, str]] = []
        while (page := await alice.get(f"/api/chat/{chat_id}/messages?afterSeq={len(stored)}&limit=200"))[
            "items"
        ]:
            stored += page["items"]
    assert len(told) > 100
    assert sorted(message["content"] for message in stored) == told


async def _poster(
    alice: Person, chat_id: str, number: int, urls: list[str], done: asyncio.Event
) -> list[str]:
    """Posts in turn through each API until `done`; what was taken."""
    told: list[str] = []
    addresses = cycle(urls if number % 2 else reversed(urls))
    headers = {"Authorization": f"Bearer {alice.token}"}
    async with aiohttp.ClientSession(headers=headers) as http:
        while not done.is_set():
            message = {"chatId": chat_id, "content": f"{number}-{len(told)}"}
            try:
                async with http.post(f"{next(addresses)}/api/chat/messages", json=message) as answer:
                    assert answer.status == 201, await answer.text()
            except aiohttp.ClientConnectorError as refused:
                assert isinstance(refused.os_error, ConnectionRefusedError)  # noqa: PT017  anything else fails
            else:
                told.append(message["content"])
    return told
