"""A tenth of a room stops reading: the others do not notice, and the gateway's memory is bounded."""

import asyncio
import socket
import sys
import time

import orjson
import pytest
from support.gateways import ScriptedApi, eventually
from support.raw_socket import RawSocket
from support.servers import RabbitServer, RedisServer

from endurance.gateway_process import MIB, gateway_process, publish, usage
from shared.bus.rabbit.bus import rabbit_bus
from shared.events import MESSAGE_CREATED, Event, chat_room

pytestmark = pytest.mark.matrix

ROOM = 1000
SLOW = 100
PER_SECOND = 10
SECONDS = 12
TEXT = "x" * 8192
MAX_WAITING = 256 * 1024
IN_THE_KERNEL = 16 * 1024
NOISE = 2.0
NOISE_SECONDS = 0.02


class Reader:
    """One socket, and how late each message came to it.

    Attributes:
        delays: in seconds, of the current load.
    """

    def __init__(self) -> None:
        self.delays: list[float] = []
        self.heard = 0
        self.socket: RawSocket | None = None

    def hear(self, packet: bytes) -> None:
        if packet.startswith(b'42["new-msg",'):
            self.heard += 1
            sent_at = float(packet[packet.index(b'"sentAt":') + 9 :].partition(b",")[0])
            self.delays.append(time.monotonic() - sent_at)

    def stop_reading(self) -> None:
        """From now on what is sent to it stays on its way."""
        assert self.socket is not None
        assert self.socket.transport is not None
        self.socket.transport.pause_reading()
        own: socket.socket = self.socket.transport.get_extra_info("socket")
        own.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, IN_THE_KERNEL)


async def join(readers: list[Reader], url: str, token: str, chat_id: str) -> None:
    for start in range(0, len(readers), 50):
        some = readers[start : start + 50]
        sockets = await asyncio.gather(
            *(RawSocket.joined(url, token, chat_id, heard=each.hear) for each in some)
        )
        for each, opened in zip(some, sockets, strict=True):
            each.socket = opened


def message(chat_id: str, seq: int) -> Event:
    return Event(
        type=MESSAGE_CREATED,
        name="new-msg",
        body=orjson.dumps({"sentAt": time.monotonic(), "chatId": chat_id, "seq": seq, "content": TEXT}),
        subject=chat_id,
        rooms=(chat_room(chat_id),),
        seq=seq,
    )


def p99(readers: list[Reader]) -> float:
    delays = sorted(delay for reader in readers for delay in reader.delays)
    return delays[len(delays) * 99 // 100]


async def test_a_tenth_that_does_not_read_harms_only_itself(
    rabbitmq: RabbitServer, redis_server: RedisServer, capsys: pytest.CaptureFixture[str]
) -> None:
    """Their connections are closed as slow consumers; the others' p99 stays within noise."""
    api = ScriptedApi()
    chat_id = api.open_chat("ada")
    readers = [Reader() for _ in range(ROOM)]
    patient, slow = readers[SLOW:], readers[:SLOW]
    async with (
        api.serving(),
        gateway_process(
            api, rabbitmq=rabbitmq.url, redis=redis_server.url, GATEWAY_MAX_WAITING=str(MAX_WAITING)
        ) as service,
        rabbit_bus(rabbitmq.url, name="slow") as bus,
    ):
        await join(readers, service.url, api.token("ada"), chat_id)
        seq = 0

        async def load() -> float:
            """Says so much to the room; how late the patient heard it, at p99."""
            nonlocal seq
            for reader in readers:
                reader.delays.clear()
            for _ in range(SECONDS * PER_SECOND):
                seq += 1
                await publish(bus, message(chat_id, seq))
                await asyncio.sleep(1 / PER_SECOND)
            async with asyncio.timeout(30):
                while any(reader.heard < seq for reader in patient):  # noqa: ASYNC110  # callbacks count
                    await asyncio.sleep(0.05)
            return p99(patient)

        await load()
        quiet, before = await load(), await usage(service)
        for reader in slow:
            reader.stop_reading()
        beside, during = await load(), await usage(service)

        async def closed() -> float:
            return await service.metric("roomcast_gateway_limited_total", code="slow_consumer")

        await eventually(closed, is_=SLOW, seconds=10)
        after = await usage(service)
        for reader in readers:
            if reader.socket is not None:
                reader.socket.abort()
    with capsys.disabled():
        sys.stdout.write(
            f"\n  {ROOM} in a room, {PER_SECOND} messages of {len(TEXT)} bytes a second\n"
            f"    p99 of the others: {quiet * 1000:.1f} ms while all read, "
            f"{beside * 1000:.1f} ms while {SLOW} do not\n"
            f"    gateway before {before}\n    while they do not read {during}\n    after {after}\n"
        )
    assert [reader.heard for reader in patient] == [seq] * len(patient)
    assert beside < max(NOISE * quiet, quiet + NOISE_SECONDS)
    assert during.memory - before.memory < 2 * SLOW * MAX_WAITING + 16 * MIB
