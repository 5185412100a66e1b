"""A long run of ordinary life: `python -m endurance.soak --seconds 1800`.

Everything is real, two of each service, under the load of the chaos tests, whose witnesses judge that
nothing is lost. Beside it sockets come, join, say that they type, leave and go, by WebSocket and by
long-polling, in good order or cut off; chats are opened and deleted, members are put out. In the end each
service has to use what it used before.
"""

import argparse
import asyncio
import contextlib
import itertools
import random
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Final

import aiohttp
import orjson
from chaos.cluster import Cluster, Unit, ground
from chaos.run import People, Run, running
from support.raw_socket import RawSocket, TurnedAwayError
from support.rest import Api, Person

from endurance.gateway_process import MIB, Usage, usage

SOCKETS: Final = 150
"""Of the churn, at once."""
PEOPLE: Final = 12
TOKEN_SECONDS: Final = "86400"
POSTS_PER_SECOND: Final = 40.0
STAYS_SECONDS: Final = (0.2, 6.0)
CHATS_SECONDS: Final = 0.5
"""A chat is opened, or deleted, so often."""
CHATS: Final = 40
QUIET_SECONDS: Final = 30.0
"""After which what the churn has left behind should be gone: pings of polling connections sleep for 25 s."""
GROWTH_BYTES: Final = 24 * MIB
GROWTH_TASKS: Final = 5
GROWTH_FILES: Final = 10
"""Pools of connections breathe."""
GROWTH_CONNECTIONS: Final = 64
"""Clients' pools widen when the machine is late once, and take turns, so that none of theirs idles."""


@dataclass(slots=True)
class Churn:
    """Sockets and chats that come and go; `done` counts what they did."""

    people: Sequence[Person]
    gateways: Sequence[str]
    rng: random.Random
    http: aiohttp.ClientSession
    done: Counter[str] = field(default_factory=Counter)
    _chats: dict[str, Person] = field(default_factory=dict)

    @asynccontextmanager
    async def going_on(self) -> AsyncIterator[None]:
        """Churns while the block runs."""
        tasks = [asyncio.create_task(self._sockets()) for _ in range(SOCKETS)]
        tasks += [asyncio.create_task(self._polls()) for _ in range(SOCKETS // 10)]
        tasks.append(asyncio.create_task(self._rooms()))
        try:
            yield
            failed = [task.exception() for task in tasks if task.done()]
            assert not failed, failed
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _sockets(self) -> None:
        while True:
            person = self.rng.choice(self.people)
            try:
                raw = await RawSocket.joined(self.rng.choice(self.gateways), person.token)
            except (TurnedAwayError, TimeoutError, OSError) as error:
                self.done[f"handshake: {error}"] += 1
                await asyncio.sleep(1)
                continue
            try:
                await self._life(raw)
            except (TurnedAwayError, TimeoutError) as error:
                self.done[f"socket: {error}"] += 1
            finally:
                raw.abort()

    async def _life(self, raw: RawSocket) -> None:
        for chat_id in self.rng.sample(list(self._chats), min(3, len(self._chats))):
            ack = await raw.ask("join-chat", chat_id)
            self.done["joined" if ack["ok"] else ack["error"]["code"]] += 1
            if ack["ok"]:
                await raw.ask("typing", {"chatId": chat_id, "isTyping": True})
                if self.rng.random() < 0.3:
                    await raw.ask("leave-chat", chat_id)
        await asyncio.sleep(self.rng.uniform(*STAYS_SECONDS))
        match self.rng.randrange(3):
            case 0:
                raw.text(b"41")
            case 1:
                raw.text(b"1")
            case _:
                return
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(1):
                await raw.gone.wait()

    async def _polls(self) -> None:
        while True:
            person = self.rng.choice(self.people)
            url = f"{self.rng.choice(self.gateways)}/socket.io/?EIO=4&transport=polling"
            async with self.http.get(url) as response:
                url += "&sid=" + orjson.loads((await response.text())[1:])["sid"]
            await self.http.post(url, data=b"40" + orjson.dumps({"token": person.token}))
            for _ in range(self.rng.randrange(1, 4)):
                async with self.http.get(url) as response:
                    await response.read()
            await self.http.post(url, data=b"1")
            self.done["polling sessions"] += 1
            await asyncio.sleep(self.rng.uniform(*STAYS_SECONDS))

    async def _rooms(self) -> None:
        for _ in itertools.count():
            owner, *others = self.rng.sample(list(self.people), len(self.people) // 2)
            if len(self._chats) < CHATS:
                self._chats[await owner.open_chat(*others)] = owner
                self.done["chats opened"] += 1
            else:
                chat_id = self.rng.choice(list(self._chats))
                owner = self._chats.pop(chat_id)
                for member in others[:2]:
                    await owner.call("DELETE", f"/api/chat/{chat_id}/members/{member.id}")
                (await owner.call("DELETE", f"/api/chat/{chat_id}")).expect(204)
                self.done["chats deleted"] += 1
            await asyncio.sleep(CHATS_SECONDS)


async def measured(cluster: Cluster) -> dict[str, Usage]:
    """Measures what each service uses once it is quiet."""
    await asyncio.sleep(QUIET_SECONDS)
    return {unit.name: await usage(unit.service) for unit in cluster.units}


def grown(unit: Unit, before: Usage, after: Usage) -> bool:
    """Returns whether a service uses more than it did."""
    return (
        after.memory - before.memory > GROWTH_BYTES
        or after.tasks - before.tasks > GROWTH_TASKS
        or after.files - before.files > GROWTH_FILES
        or after.connections - before.connections > GROWTH_CONNECTIONS
    )


async def soaked(cluster: Cluster, run: Run, churn: Churn, seconds: float, say_each: float) -> list[str]:
    """Churns, measures, churns for `seconds`, measures: the names of services that have grown."""
    async with churn.going_on():
        await asyncio.sleep(min(60.0, seconds / 5))
    before = await measured(cluster)
    churn.done.clear()
    async with churn.going_on():
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0:
            await asyncio.sleep(min(say_each, left))
            memory = " ".join(f"{unit.name} {unit.memory >> 20}" for unit in cluster.units)
            gone = seconds - max(0.0, left - say_each)
            say(f"{gone:6.0f} s   wrong {len(run.history.violations)}   MiB: {memory}")
    after = await measured(cluster)
    run.notes += [f"{what}: {count}" for what, count in churn.done.most_common()]
    for unit in cluster.units:
        run.notes.append(f"{unit.name:10} before {before[unit.name]}")
        run.notes.append(f"{unit.name:10} after  {after[unit.name]}")
    return [unit.name for unit in cluster.units if grown(unit, before[unit.name], after[unit.name])]


def say(what: str) -> None:
    """A line of progress."""
    sys.stdout.write(f"{what}\n")
    sys.stdout.flush()


async def main(seconds: float, seed: int) -> int:
    """Soaks, prints the figures; 1 when something was wrong."""
    async with ground() as servers, aiohttp.ClientSession() as http:
        cluster = Cluster(servers)
        cluster.settings["ACCESS_TOKEN_TTL"] = TOKEN_SECONDS
        async with cluster, Api(cluster.those("api")[0].service.url) as api:
            people = await People.registered(api)
            crowd = [await api.register("dan") for _ in range(PEOPLE)]
            gateways = [unit.service.url for unit in cluster.those("gateway")]
            churn = Churn(crowd, gateways, random.Random(seed), http)
            async with running(cluster, people, seed=seed, per_second=POSTS_PER_SECOND, orderly=True) as run:
                leaking = await soaked(cluster, run, churn, seconds, say_each=60.0)
                figures = await run.finish()
    say("\n".join(figures.lines()))
    for violation in figures.violations[:50]:
        say(f"WRONG, {violation.kind}: {violation.what}")
    for name in leaking:
        say(f"WRONG: {name} has grown")
    return 1 if figures.violations or leaking else 0


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="make soak")
    parser.add_argument("--seconds", type=float, default=1800)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6))
    options = parser.parse_args()
    say(f"make soak SECONDS={options.seconds:g}, seed {options.seed}")
    sys.exit(asyncio.run(main(options.seconds, options.seed)))
