"""The demo assistant: needs no key and no network, and answers the same message in the same way.

It quotes what it answers. Three words in a message make it do more: `/time` call a tool, `/slow` take about
ten seconds, `/fail` fail.
"""

import asyncio
import re
from collections.abc import AsyncGenerator, Callable
from datetime import datetime
from time import perf_counter
from typing import Any, Final

from ai_worker.replies.chunks import MAX_CONTENT, WINDOW
from ai_worker.responder import Facts, Part, ResponderError, TextDelta, ToolCalling, ToolCompleted
from shared.events import ReplyRequested
from shared.ids import now, rfc3339

CLOCK_TOOL: Final = "clock"
FAILURE_CODE: Final = "demo_failure"

_COMMAND: Final = re.compile(r"(?<![\w/])/(time|slow|fail)(?!\w)", re.IGNORECASE)
_WORD: Final = re.compile(r"\s*\S+|\s+\Z")
_FRAMES: Final = (
    "This is the demo assistant: no model was asked. {time}You wrote: {words}",
    "Demo assistant. {time}{words}",
    "Demo. {time}{words}",
    "{time}{words}",
    "{words}",
)
"""From the one that says most to the one that leaves most room for the words of the message."""

_STRIDE: Final = 4 / 3
"""Windows between two pieces: more than one, so that pieces are not joined to one chunk."""
_MIN_PIECES: Final = 3
_MAX_PIECES: Final = 24
_USUAL_SECONDS: Final = 0.95
_SLOW_SECONDS: Final = 10.0

_MODEL_FACTS: Final[dict[str, Any]] = {"model": "demo", "fallback": False, "cache": False}
_END_FACTS: Final[dict[str, Any]] = {"tokensIn": 0, "tokensOut": 0, "finishReason": "stop"}


class DemoResponder:
    """A responder that quotes, in a second or less (see `/slow`)."""

    def __init__(self, *, clock: Callable[[], datetime] = now, window: float = WINDOW) -> None:
        self._clock = clock
        self._pause = window * _STRIDE
        self._pieces = min(_MAX_PIECES, max(_MIN_PIECES, int(_USUAL_SECONDS / self._pause)))

    async def respond(self, request: ReplyRequested) -> AsyncGenerator[Part, None]:
        """Yields the demo's reply.

        Raises:
            ResponderError: the message holds `/fail`.
        """
        words = message_to_answer(request)
        started = perf_counter()
        commands = {found.lower() for found in _COMMAND.findall(words)}
        if "fail" in commands:
            raise ResponderError(FAILURE_CODE)
        time = ""
        if "time" in commands:
            yield ToolCalling(CLOCK_TOOL)
            time = f"The time is {rfc3339(self._clock())}. "
            yield ToolCompleted(CLOCK_TOOL)
        pieces = _WORD.findall(compose(words, time))
        if "slow" in commands:
            pause = first_pause = _SLOW_SECONDS / len(pieces)
        else:
            pieces, pause, first_pause = grouped(pieces, self._pieces), self._pause, 0.0
        facts = dict(_MODEL_FACTS)
        for index, piece in enumerate(pieces):
            await asyncio.sleep(pause if index else first_pause)
            yield TextDelta(piece)
            if index == 0:
                facts["firstTokenMs"] = _ms_since(started)
                yield Facts(facts)
        yield Facts(facts | _END_FACTS | {"totalMs": _ms_since(started)})


def _ms_since(started: float) -> int:
    return round((perf_counter() - started) * 1000)


def message_to_answer(request: ReplyRequested) -> str:
    """Returns the content of the message that the request names; of the last one when it names none."""
    asked = next((past for past in request.history if past.id == request.reply_to), None)
    if asked is None and request.history:
        asked = request.history[-1]
    return asked.content if asked else ""


def compose(words: str, time: str) -> str:
    """Returns the reply, of at most `MAX_CONTENT` characters; the words count most, then the time."""
    candidates = (frame.format(words=words, time=time) for frame in _FRAMES)
    return next((text for text in candidates if len(text) <= MAX_CONTENT), words[:MAX_CONTENT])


def grouped(pieces: list[str], count: int) -> list[str]:
    """Returns the same text in at most `count` pieces of about as many words each."""
    step = -(-len(pieces) // count) or 1
    return ["".join(pieces[start : start + step]) for start in range(0, len(pieces), step)]
