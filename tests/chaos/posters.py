"""Clients that post, and repeat a post until it is answered."""

import asyncio
import itertools
import random
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

import aiohttp
import orjson

from chaos.history import History
from chaos.witness import Kind

ANSWER_SECONDS: Final = 5.0
"""Within which each attempt has to be answered, if only with 503."""
LEEWAY_SECONDS: Final = 0.5
"""For this machine: client, services and servers share its processors."""
GIVE_UP_SECONDS: Final = 7.0
SHUN_SECONDS: Final = 10.0
"""How long an API that did not answer is the last choice."""
LANES: Final = 12
"""Posts of one client that are under way at once at one API."""
_REPEAT_SECONDS: Final = (0.2, 0.5)


@dataclass(frozen=True, slots=True)
class Author:
    """A person who posts, and the place.

    Attributes:
        asks: an assistant has to answer each.
        slow: and takes ten seconds for it.
        per_second: how many posts, while there is somebody to answer.
    """

    name: str
    token: str
    chat_id: str
    asks: bool
    slow: bool
    per_second: float


@dataclass(slots=True)
class Posters:
    """Posts in the name of `authors` at `apis`, in turn.

    Attributes:
        first_time: the first attempt of each post has to be answered 201: nothing dies, and nothing else is
            an excuse.
        excused: whether the API at an address cannot have answered at some time since then.
        answers: how often each status, or error, ended an attempt.
        slowest: the longest that an attempt was left without an answer, in seconds.
    """

    authors: Sequence[Author]
    apis: Sequence[str]
    history: History
    rng: random.Random
    first_time: bool = False
    excused: Callable[[str, float], bool] = lambda _api, _since: False
    answers: Counter[str] = field(default_factory=Counter)
    slowest: float = 0.0
    _numbers: "itertools.count[int]" = field(default_factory=itertools.count)
    _shunned: dict[str, float] = field(default_factory=dict)

    async def run(self, stop: asyncio.Event) -> None:
        """Posts until `stop` is set; returns when every post has been answered."""
        timeout = aiohttp.ClientTimeout(total=GIVE_UP_SECONDS)
        connector = aiohttp.TCPConnector(limit=0)
        async with (
            aiohttp.ClientSession(timeout=timeout, connector=connector) as http,
            asyncio.TaskGroup() as tasks,
        ):
            for author in self.authors:
                tasks.create_task(self._author(author, http, stop))

    async def _author(self, author: Author, http: aiohttp.ClientSession, stop: asyncio.Event) -> None:
        lanes = {api: asyncio.Semaphore(LANES) for api in self.apis}
        loop = asyncio.get_running_loop()
        due = loop.time() + self.rng.random() / author.per_second

        async def post(number: int, api: str) -> None:
            try:
                await self._post(author, number, api, http)
            finally:
                lanes[api].release()

        async with asyncio.TaskGroup() as tasks:
            while not stop.is_set():
                await asyncio.sleep(due - loop.time())
                number = next(self._numbers)
                choices = self._choices(number)
                api = next((each for each in choices if not lanes[each].locked()), choices[0])
                await lanes[api].acquire()
                tasks.create_task(post(number, api))
                # What could not be posted in an outage is not made up for afterwards.
                due = max(due + 1 / author.per_second, loop.time() - 0.5)

    async def _post(self, author: Author, number: int, api: str, http: aiohttp.ClientSession) -> None:
        key = f"{author.name}-{author.chat_id[-6:]}-{number}"
        content = f"post {key} says {self.rng.randrange(10**9)}{' /slow' if author.slow else ''}"
        body = orjson.dumps({"chatId": author.chat_id, "content": content})
        headers = {
            "Authorization": f"Bearer {author.token}",
            "Content-Type": "application/json",
            "Idempotency-Key": key,
        }
        self.history.posting(key, author.chat_id, content, asks=author.asks)
        for attempt in itertools.count(number + 1):
            if await self._attempt(http, api, key, body, headers):
                return
            await asyncio.sleep(self.rng.uniform(*_REPEAT_SECONDS))
            api = self._choices(attempt)[0]

    def _choices(self, turn: int) -> Sequence[str]:
        """The APIs, those first that have answered lately, each of them the first in turn."""
        now = time.monotonic()
        well = [api for api in self.apis if self._shunned.get(api, 0.0) < now] or list(self.apis)
        first = turn % len(well)
        return [*well[first:], *well[:first]]

    async def _attempt(
        self, http: aiohttp.ClientSession, api: str, key: str, body: bytes, headers: dict[str, str]
    ) -> bool:
        """Posts once; whether that was the end of it."""
        began = time.monotonic()
        try:
            url = f"{api}/api/chat/messages"
            async with http.post(url, data=body, headers=headers) as response:
                answer = await response.read()
        except TimeoutError:
            self._shunned[api] = time.monotonic() + SHUN_SECONDS
            self._ended(key, "no answer")
            self._hangs(api, began, f"{key} was not answered within {GIVE_UP_SECONDS:g} s")
            return False
        except (aiohttp.ClientError, OSError) as error:
            self._ended(key, type(error).__name__)
            return False
        self._ended(key, str(response.status))
        self._took(key, api, began, response.status)
        match response.status:
            case 200 | 201:
                self.history.answered(key, orjson.loads(answer))
                return True
            case 503:
                problem = orjson.loads(answer)
                if problem.get("code") != "unavailable" or "Retry-After" not in response.headers:
                    self.history.report(Kind.REFUSED, f"{key}: a 503 that says {answer[:300]!r}")
            case status:
                self.history.report(Kind.REFUSED, f"{key}: {status} {answer[:300]!r}")
                return True
        return False

    def _ended(self, key: str, how: str) -> None:
        self.answers[how] += 1
        if self.first_time and how != "201":
            self.history.report(Kind.REFUSED, f"{key}: {how}, where nothing died")

    def _took(self, key: str, api: str, began: float, status: int) -> None:
        seconds = time.monotonic() - began
        if seconds > ANSWER_SECONDS + LEEWAY_SECONDS:
            self._hangs(api, began, f"{key} was answered {status} after {seconds:.2f} s")
        if not self.excused(api, began):
            self.slowest = max(self.slowest, seconds)

    def _hangs(self, api: str, began: float, what: str) -> None:
        if not self.excused(api, began):
            self.history.report(Kind.HANG, what)
