"""Two thousand clients lose their gateway at once, and come back at once."""

import asyncio
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest
from support.rest import Api
from support.servers import PostgresServer, RabbitServer, RedisServer
from support.stack import Service, Services

from endurance.crowd import Member, all_in

pytestmark = pytest.mark.matrix

CLIENTS = 2000
USERS = 100
ADDRESSES = 20
BACK_SECONDS = 60.0


@dataclass(slots=True)
class Storm:
    """The stack and the crowd; `addresses` are the gateways' that run."""

    stack: Services
    members: list[Member]
    troubles: Counter[str]
    addresses: list[str]

    def summary(self, what: str, took: list[float]) -> str:
        """A line for people."""
        return (
            f"{what}: {len(took)} in again; median {took[len(took) // 2]:.1f} s, "
            f"p99 {took[len(took) * 99 // 100]:.1f} s, slowest {took[-1]:.1f} s; "
            f"on the way {dict(self.troubles)}"
        )


@pytest.fixture
async def storm(
    postgres: PostgresServer, rabbitmq: RabbitServer, redis_server: RedisServer
) -> AsyncIterator[Storm]:
    """All clients in, at the second gateway; limits are on, as an operator has them."""
    urls = {
        "DATABASE_URL": await postgres.new_database(),
        "RABBITMQ_URL": rabbitmq.url,
        "REDIS_URL": redis_server.url,
    }
    async with Services(RATE_LIMITS="on", LOG_LEVEL="warning", **urls) as stack:
        crowded = await stack.add("gateway")
        async with Api(stack.api.url) as api:
            people = [await api.register("ann") for _ in range(USERS)]
            rooms = [people[start : start + 10] for start in range(0, USERS, 10)]
            chats = [await room[0].open_chat(*room[1:]) for room in rooms]
        addresses, troubles = [crowded.url], Counter[str]()
        members = [
            Member(
                urls=lambda: addresses,
                token=people[number % USERS].token,
                chat_id=chats[number % USERS // 10],
                source=f"127.0.1.{number % ADDRESSES + 1}",
                troubles=troubles,
            )
            for number in range(CLIENTS)
        ]
        began = time.monotonic()
        running = [asyncio.create_task(member.run()) for member in members]
        try:
            await all_in(members, since=began, seconds=BACK_SECONDS)
            troubles.clear()
            yield Storm(stack, members, troubles, addresses)
        finally:
            for task in running:
                task.cancel()
            await asyncio.gather(*running, return_exceptions=True)


async def restarts(stack: Services) -> list[str]:
    """The services that have ended by themselves."""
    services = (*stack.apis, *stack.gateways, *stack.workers)
    return [one.kind for one in services if not one.process.running]


async def test_two_thousand_come_back_at_once(storm: Storm, capsys: pytest.CaptureFixture[str]) -> None:
    """A gateway is killed: all are back and joined at the other. That one drains: all are back at a third."""
    crowded, other = storm.stack.gateways[1], storm.stack.gateways[0]
    storm.addresses[:] = [other.url]
    killed = time.monotonic()
    storm.stack.gateways.remove(crowded)
    crowded.process.kill()
    back = await all_in(storm.members, since=killed, seconds=BACK_SECONDS)
    lines = [storm.summary("a gateway was killed", back)]
    assert not storm.troubles, lines
    assert await other.metric("roomcast_gateway_sockets") == CLIENTS
    assert await restarts(storm.stack) == []

    third: Service = await storm.stack.add("gateway")
    storm.addresses[:] = [third.url]
    drained = time.monotonic()
    assert await storm.stack.remove(other) == 0
    moved = await all_in(storm.members, since=drained, seconds=BACK_SECONDS)
    lines.append(storm.summary("a gateway drained", moved))
    delays = [member.told_to_leave for member in storm.members]
    assert all(len(each) == 1 for each in delays)
    assert len({each[0] for each in delays}) == CLIENTS
    lines.append(f"delays told: {min(delays)[0]} to {max(delays)[0]} ms")
    assert not storm.troubles, lines
    assert await restarts(storm.stack) == []
    with capsys.disabled():
        sys.stdout.write("\n    ".join(["\n  2000 clients", *lines, ""]))
