"""Passwords: argon2id, in threads, so many at once as there are cores."""

import asyncio
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Final, Self, TypeVar

from argon2 import PasswordHasher
from argon2.exceptions import VerificationError

T = TypeVar("T")

_HASHER: Final = PasswordHasher(time_cost=2, memory_cost=19 * 1024, parallelism=1)
"""The least that OWASP's password storage cheat sheet recommends for argon2id: 19 MiB, two passes."""


class Passwords:
    """Hashes and verifies passwords; an async context manager that owns its threads."""

    def __init__(self) -> None:
        self._workers = os.cpu_count() or 1
        self._slots = asyncio.Semaphore(self._workers)
        self._threads = ThreadPoolExecutor(self._workers, thread_name_prefix="passwords")
        self._dummy_hash = _HASHER.hash(os.urandom(16))

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def hash(self, password: str) -> str:
        """Returns the password's argon2id hash, with its parameters and salt."""
        async with self._slots:
            return await self._run(lambda: _HASHER.hash(password))

    async def verify(self, password: str, hashed: str | None, *, first: Callable[[], None]) -> bool:
        """Returns whether the password is the one that was hashed; takes as long when there is none (None).

        `first` is called when a thread is free, right before the work; what it raises comes out here.
        """
        async with self._slots:
            first()
            same = await self._run(lambda: _verify(hashed or self._dummy_hash, password))
        return same and hashed is not None

    async def _run(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._threads, work)


def _verify(hashed: str, password: str) -> bool:
    try:
        return _HASHER.verify(hashed, password)
    except VerificationError:
        return False
