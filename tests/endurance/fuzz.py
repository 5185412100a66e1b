"""Fuzzes a gateway in a process of its own: `python -m endurance.fuzz --inputs 100000`.

While it is sent nonsense, a bystander's socket gets a broadcast every few milliseconds; in the end it has to
have had all of them, in order, and the gateway to use what it used before.
"""

import argparse
import asyncio
import secrets
import sys
import time
import warnings
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import urlsplit

import aiohttp
import orjson
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from hypothesis.errors import HypothesisWarning
from support.gateways import ScriptedApi, eventually, message_created
from support.raw_socket import RawSocket, TurnedAwayError, frame
from support.servers import RabbitServer, RedisServer, running
from support.stack import Service

from endurance.bystander import ANSWER_SECONDS, Bystander, told
from endurance.gateway_process import MIB, Usage, gateway_process, settled
from endurance.inputs import Input, floods, inputs
from endurance.report import Report
from shared.bus import Bus
from shared.bus.deduplication import EVENTS
from shared.bus.rabbit.bus import rabbit_bus
from shared.ids import new_id

AT_ONCE: Final = 20
"""Inputs that are sent at the same time, each on a connection of its own."""
PATIENCE_SECONDS: Final = 0.02
"""Whoever sent what need not be answered looks so long for what comes."""
CHUNK: Final = 5000
ROUNDS: Final = 4
"""Memory is looked at after each: what leaks does so in all of them."""
ROUND_SEEDS: Final = 1_000_000_007
TOLD_AT_ONCE: Final = 100
GROWTH_BYTES: Final = 16 * MIB
"""In all: what is remembered, with its bounds, and what the allocator keeps of the largest moment."""
LEAK_BYTES: Final = 4 * MIB
"""From the end of the first round on, when all of that is there."""
HEARTBEAT: Final = frame(b'42["heartbeat"]')


@dataclass(slots=True)
class Fuzz:
    """A run under way: `outcomes` counts what became of the inputs."""

    url: str
    api: ScriptedApi
    http: aiohttp.ClientSession
    outcomes: Counter[str] = field(default_factory=Counter)
    token: str = ""
    _idle: list[RawSocket] = field(default_factory=list)

    def __post_init__(self) -> None:
        # Always the same: the gateway remembers ten thousand that it has verified.
        self.token = self.api.token("fuzz", seconds=86_400)

    async def play(self, batch: Sequence[Input]) -> None:
        """Sends inputs, all at once."""
        await asyncio.gather(*(self._play(one) for one in batch))

    async def close(self) -> None:
        """Lets the connections go that were kept."""
        for raw in self._idle:
            raw.abort()

    async def _play(self, one: Input) -> None:
        match one.door:
            case "socket":
                outcome = await self._socket(one.pieces)
            case "websocket":
                outcome = await self._websocket(one.pieces)
            case "tcp":
                outcome = await self._tcp(one.pieces)
            case _:
                outcome = await self._polling(one.pieces)
        self.outcomes[outcome] += 1

    async def _socket(self, pieces: Sequence[bytes]) -> str:
        """Goes on with the same socket as long as it is answered."""
        raw = self._idle.pop() if self._idle else None
        if raw is None or raw.gone.is_set():
            raw = await RawSocket.joined(self.url, self.token)
        for piece in pieces:
            raw.write(piece)
        try:
            await raw.ask("heartbeat", seconds=PATIENCE_SECONDS)
        except TurnedAwayError:
            return "closed"
        except TimeoutError:
            raw.abort()  # it waits for the rest of a frame, which what comes next would be taken for
            return "waiting"
        self._idle.append(raw)
        return "answered"

    async def _websocket(self, pieces: Sequence[bytes]) -> str:
        raw = await RawSocket.opened(self.url)
        for piece in pieces:
            raw.write(piece)
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                await raw.gone.wait()
        except TimeoutError:
            raw.abort()
            return "waiting"
        return "closed"

    async def _tcp(self, pieces: Sequence[bytes]) -> str:
        where = urlsplit(self.url)
        reader, writer = await asyncio.open_connection(where.hostname, where.port)
        said = b""
        try:
            for piece in pieces:
                writer.write(piece)
            async with asyncio.timeout(PATIENCE_SECONDS):
                said = await reader.read(12)
        except ConnectionError:
            return "closed"
        except TimeoutError:
            return "waiting"
        finally:
            writer.transport.abort()
        return said.decode("latin-1")[9:12] or "closed"

    async def _polling(self, bodies: Sequence[bytes]) -> str:
        url = f"{self.url}/socket.io/?EIO=4&transport=polling"
        async with self.http.get(url) as response:
            url += "&sid=" + orjson.loads((await response.text())[1:])["sid"]
        connect = b"40" + orjson.dumps({"token": self.token})
        statuses = []
        for body in (connect, *bodies, b"1"):
            async with self.http.post(url, data=body) as response:
                statuses.append(response.status)
        return f"polling {max(statuses[1:-1])}"


async def fuzz(service: Service, api: ScriptedApi, bus: Bus, *, count: int, number: int, warm: int) -> Report:
    """Sends `count` inputs of seed `number` to a gateway, after `warm` others that are not looked at.

    Raises:
        AssertionError: somebody noticed something, or something was left behind.
    """
    chat_id = api.open_chat("bystander")
    bystander = Bystander()
    async with aiohttp.ClientSession() as http:
        await _fill_what_is_remembered(service, bus)
        await _play(Fuzz(service.url, api, http), warm, number + 1)
        before = await settled(service, sockets=0)
        bystander.socket = await RawSocket.joined(
            service.url, api.token("bystander", seconds=86_400), chat_id, heard=bystander.hear
        )
        saying = asyncio.create_task(bystander.broadcast(bus, chat_id))
        run = Fuzz(service.url, api, http)
        rounds: list[Usage] = []
        began = time.monotonic()
        try:
            for each in range(1, ROUNDS + 1):
                await _play(run, count * each // ROUNDS, number + each * ROUND_SEEDS)
                rounds.append(await settled(service, sockets=1))
                sys.stderr.write(f"{run.outcomes.total()} inputs: {rounds[-1]}\n")
        finally:
            saying.cancel()
            await asyncio.wait([saying])
        assert saying.cancelled(), saying.exception()
        seconds = time.monotonic() - began
    await bystander.all_heard()
    assert not bystander.socket.gone.is_set(), "the bystander was thrown out"
    assert bystander.heard == list(range(1, bystander.sent + 1)), "the bystander missed something"
    bystander.socket.abort()
    delays = sorted(bystander.delays)
    report = Report(
        inputs=run.outcomes.total(),
        seconds=seconds,
        outcomes=run.outcomes,
        broadcasts=bystander.sent,
        p99=delays[len(delays) * 99 // 100],
        slowest=delays[-1],
        before=before,
        rounds=tuple(rounds),
    )
    sys.stderr.write("\n".join([f"seed {number}", *report.lines(), ""]))
    after = report.after
    assert after.tasks <= before.tasks + 2, report.lines()
    assert after.files <= before.files + 3, report.lines()
    assert after.memory - before.memory < GROWTH_BYTES, report.lines()
    assert after.memory - rounds[0].memory < LEAK_BYTES, report.lines()
    failures = [line for line in service.process.output.splitlines() if '"level":"error"' in line]
    assert not failures, failures[:3]
    return report


async def _fill_what_is_remembered(service: Service, bus: Bus) -> None:
    """Has the gateway relay as many events, to nobody, as it knows again.

    The broadcasts would fill that during most of a run, and be taken for a leak.
    """
    chat_id = new_id()
    for start in range(0, EVENTS, TOLD_AT_ONCE):
        await told(bus, *(message_created(chat_id, start + each) for each in range(TOLD_AT_ONCE)))

    async def relayed() -> bool:
        return await service.metric("roomcast_gateway_events_ignored_total") >= EVENTS

    await eventually(relayed, is_=True, seconds=ANSWER_SECONDS)


async def _play(run: Fuzz, count: int, number: int) -> None:
    """Sends inputs of seeds from `number` on, until there were `count`."""
    try:
        while (left := count - run.outcomes.total()) > 0:
            await _play_some(run, min(left, CHUNK), number)
            number += 1_000_003
    finally:
        await run.close()


async def _play_some(run: Fuzz, count: int, number: int) -> None:
    """Has hypothesis make up inputs, in a thread, and sends them, here."""
    loop = asyncio.get_running_loop()
    batches = st.lists(inputs, min_size=AT_ONCE, max_size=AT_ONCE)
    flooded = st.tuples(floods, batches).map(lambda both: [both[0], *both[1][1:]])

    @seed(number)
    @settings(
        max_examples=max(1, count // AT_ONCE),
        database=None,
        deadline=None,
        phases=[Phase.generate, Phase.shrink],
        suppress_health_check=list(HealthCheck),
        report_multiple_bugs=False,
    )
    @given(st.one_of(*[batches] * 9, flooded))
    def sent(batch: list[Input]) -> None:
        asyncio.run_coroutine_threadsafe(run.play(batch), loop).result()

    await asyncio.to_thread(sent)


@asynccontextmanager
async def ground(rabbitmq: str, redis: str) -> AsyncIterator[tuple[Service, ScriptedApi, Bus]]:
    """A gateway on the servers at these addresses."""
    api = ScriptedApi()
    async with (
        api.serving(),
        gateway_process(api, rabbitmq=rabbitmq, redis=redis) as service,
        rabbit_bus(rabbitmq, name="fuzz") as bus,
    ):
        yield service, api, bus


async def _main(count: int, number: int) -> None:
    async with (
        running(RabbitServer()) as rabbitmq,
        running(RedisServer()) as redis,
        ground(rabbitmq.url, redis.url) as (service, api, bus),
    ):
        await fuzz(service, api, bus, count=count, number=number, warm=2000)


if __name__ == "__main__":
    # The driver draws from `random` beside hypothesis; and some inputs are large.
    warnings.simplefilter("ignore", HypothesisWarning)
    parser = argparse.ArgumentParser(description="Sends nonsense to a gateway.")
    parser.add_argument("--inputs", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=secrets.randbelow(10**6))
    given_arguments = parser.parse_args()
    asyncio.run(_main(given_arguments.inputs, given_arguments.seed))
