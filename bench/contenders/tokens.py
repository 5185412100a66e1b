"""Writes replies for the benchmark: a steady stream of tokens in place of a model.

Both of the programs that write replies are given these, so that what they spend is not a model's.
"""

import asyncio
import time
from collections.abc import AsyncGenerator
from typing import Final

from bench.load.frames import stamped

PER_SECOND: Final = 50
_WORDS: Final = (
    "the",
    "quick",
    "brown",
    "fox",
    "jumps",
    "over",
    "a",
    "lazy",
    "dog",
    "while",
    "wizards",
    "watch",
)


async def tokens(count: int) -> AsyncGenerator[str, None]:
    """Yields `count` tokens, 50 a second by the clock; the first begins with when it was there."""
    loop = asyncio.get_running_loop()
    began = loop.time()
    for number in range(count):
        if (wait := began + number / PER_SECOND - loop.time()) > 0:
            await asyncio.sleep(wait)
        word = f"{_WORDS[number % len(_WORDS)]} "
        yield word if number else stamped(time.monotonic_ns(), word)
