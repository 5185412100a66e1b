"""The proxy fails as it is told to, and passes everything in order otherwise."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
from support.proxy import Link, Mode
from support.servers.ports import free_port

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@pytest.fixture
async def link() -> AsyncIterator[Link]:
    """A link to a server that answers each line with itself, and ends after `bye`."""
    port = free_port()

    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while (line := await reader.readline()) and line != b"bye\n":
            writer.write(line)
        writer.close()

    server = await asyncio.start_server(echo, "127.0.0.1", port)
    async with server, Link(port) as opened:
        yield opened


async def dialled(link: Link) -> Streams:
    """A connection through the link."""
    return await asyncio.open_connection("127.0.0.1", link.port)


async def ask(streams: Streams, line: bytes, seconds: float = 5.0) -> bytes:
    """Returns what comes back for a line."""
    streams[1].write(line)
    return await asyncio.wait_for(streams[0].readline(), seconds)


async def closed(streams: Streams) -> None:
    """Ends this side."""
    streams[1].close()
    await asyncio.gather(streams[1].wait_closed(), return_exceptions=True)


async def test_it_passes_both_ways_and_an_end(link: Link) -> None:
    """Bytes arrive, and so does the end of the other side."""
    streams = await dialled(link)
    assert await ask(streams, b"hello\n") == b"hello\n"
    assert await ask(streams, b"bye\n") == b""
    await closed(streams)


async def test_a_cut_resets_old_connections_and_new_ones(link: Link) -> None:
    """Until it is healed."""
    streams = await dialled(link)
    await ask(streams, b"hello\n")
    link.cut()
    with pytest.raises(ConnectionResetError):
        await ask(streams, b"more\n")
    again = await dialled(link)
    with pytest.raises(ConnectionResetError):
        await ask(again, b"hello\n")
    link.heal()
    healed = await dialled(link)
    assert await ask(healed, b"hello\n") == b"hello\n"
    for each in (streams, again, healed):
        await closed(each)


async def test_a_frozen_link_holds_everything_and_loses_nothing(link: Link) -> None:
    """Old and new connections hang, then go on."""
    streams = await dialled(link)
    await ask(streams, b"hello\n")
    link.freeze()
    assert link.mode is Mode.FROZEN
    late = await dialled(link)
    for each in (streams, late):
        with pytest.raises(TimeoutError):
            await ask(each, b"held\n", 0.1)
    link.heal()
    for each in (streams, late):
        assert await each[0].readline() == b"held\n"
        await closed(each)


async def test_a_slow_link_is_late_and_in_order(link: Link) -> None:
    """Also when it becomes fast again in between."""
    streams = await dialled(link)
    link.slow(0.1)
    began = time.monotonic()
    assert await ask(streams, b"1\n") == b"1\n"
    assert time.monotonic() - began >= 0.2
    streams[1].write(b"2\n")
    await asyncio.sleep(0.02)
    link.heal()
    assert await ask(streams, b"3\n") == b"2\n"
    assert await streams[0].readline() == b"3\n"
    await closed(streams)


async def test_it_balances_and_passes_over_who_refuses() -> None:
    """Each of several is the first in turn; one that does not listen costs nobody anything."""
    ports = [free_port() for _ in range(3)]

    def named(name: bytes) -> Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]:
        async def say(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(name)
            writer.close()

        return say

    async with (
        await asyncio.start_server(named(b"a\n"), "127.0.0.1", ports[0]),
        await asyncio.start_server(named(b"b\n"), "127.0.0.1", ports[2]),
        Link(*ports) as link,
    ):
        streams = await asyncio.gather(*(dialled(link) for _ in range(12)))
        heard = [await each[0].readline() for each in streams]
        assert set(heard) == {b"a\n", b"b\n"}
        for each in streams:
            await closed(each)
