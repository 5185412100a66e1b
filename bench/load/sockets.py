"""Opens many sockets in one process and counts their frames, doing as little else as can be.

With `replies` it counts replies that are whole, instead of messages. It reads a JSON command a line from
stdin and answers each with a line. Between looks at its sockets it sleeps, without waiting on them, so that
a server's writes wake nobody up; a prompt one waits on its sockets instead, and notes how old each message
is that it gets.
"""

import json
import os
import select
import socket
import sys
import time
from collections import deque
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

sys.path.insert(0, str(Path(__file__).parent.parent.parent))

from bench.load.frames import (
    ENDS,
    HEAD_END,
    PING,
    PONG,
    STAMP,
    STAMP_DIGITS,
    UPGRADE,
    connect_frame,
    frames_in,
    join_frame,
)

SWEEP_SECONDS: Final = 0.005
BUFFER_BYTES: Final = 1 << 20
PER_ADDRESS: Final = 250
"""Client addresses 127.1.0.1 and up: none meets a limit that is meant for one address."""

_WHOLE: Final = frozenset(b"]2")
"""How reads that end with a whole frame end."""
_IP_BIND_ADDRESS_NO_PORT: Final = 24
_NO_LINGER: Final = b"\x01\x00\x00\x00\x00\x00\x00\x00"


@dataclass(slots=True)
class Opening:
    """A socket on its way into its rooms."""

    socket: socket.socket
    token: str
    chats: list[str]
    received: bytearray = field(default_factory=bytearray)
    upgraded: bool = False
    left: int = 0


class Clients:
    """The sockets, and the counts of what they have got."""

    def __init__(self, *, prompt: bool, counting: str = "messages") -> None:
        self._prompt = prompt
        self._end = ENDS[counting]
        self._kept = len(self._end) - 1
        self._epoll = select.epoll()
        self._commands = bytearray()
        self._buffer = bytearray(BUFFER_BYTES)
        self._view = memoryview(self._buffer)
        self._open: dict[int, socket.socket] = {}
        self._tails: dict[int, bytes] = {}
        self._opening: dict[int, Opening] = {}
        self._to_open: deque[tuple[str, list[str]]] = deque()
        self._port = 0
        self._in_flight = 0
        self._awaited = 0
        self._began = 0.0
        self._frames = self._pings = self._bytes = self._lost = 0
        self._problem = ""
        self._ages: list[int] = []

    def run(self) -> None:
        """Runs commands and reads sockets until stdin ends."""
        self._epoll.register(0, select.EPOLLIN)
        while True:
            waits = self._prompt or self._opening
            if not waits:
                time.sleep(SWEEP_SECONDS)
            for fd, _ in self._epoll.poll(1.0 if waits else 0.0, maxevents=65536):
                if fd == 0:
                    if not self._run_commands():
                        return
                elif fd in self._opening:
                    self._continue(fd)
                elif fd in self._open:
                    self._read(fd)
            self._report()

    def _run_commands(self) -> bool:
        data = os.read(0, 1 << 20)
        self._commands += data
        *lines, rest = bytes(self._commands).split(b"\n")
        self._commands = bytearray(rest)
        for line in lines:
            command = json.loads(line)
            getattr(self, command.pop("do"))(**command)
        return bool(data)

    def connect(self, port: int, sockets: list[Any], in_flight: int) -> None:
        """Opens sockets, each given as a token and the chats to join; answers when all have joined."""
        self._port, self._in_flight = port, in_flight
        self._to_open.extend((token, chats) for token, chats in sockets)
        self._began = time.monotonic()
        self._fill()

    def count(self) -> None:
        """Answers with what came so far."""
        self._answer()

    def wait(self, frames: int) -> None:
        """Answers when that many frames have come, counted from the start."""
        self._awaited = frames

    def ages(self) -> None:
        """Answers with the ages of messages got since last asked, in nanoseconds."""
        ages, self._ages = self._ages, []
        self._answer(ages=ages)

    def close(self) -> None:
        """Closes all sockets."""
        for each in self._open.values():
            each.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NO_LINGER)
            each.close()
        self._open.clear()
        self._tails.clear()
        self._answer()

    def _answer(self, **more: Any) -> None:
        said = {
            "frames": self._frames,
            "pings": self._pings,
            "bytes": self._bytes,
            "open": len(self._open),
            "lost": self._lost,
            "problem": self._problem and f"{self._lost} sockets were lost: {self._problem}",
            **more,
        }
        sys.stdout.write(json.dumps(said) + "\n")
        sys.stdout.flush()

    def _report(self) -> None:
        if self._began and not (self._opening or self._to_open):
            began, self._began = self._began, 0.0
            self._answer(began=began, seconds=time.monotonic() - began)
        if self._awaited and (self._frames >= self._awaited or self._lost):
            self._awaited = 0
            self._answer()

    def _fill(self) -> None:
        while self._to_open and len(self._opening) < self._in_flight:
            token, chats = self._to_open.popleft()
            number = len(self._open) + len(self._opening)
            made = socket.socket()
            made.setsockopt(socket.IPPROTO_IP, _IP_BIND_ADDRESS_NO_PORT, 1)
            made.bind((f"127.1.{number // PER_ADDRESS}.{number % PER_ADDRESS + 1}", 0))
            made.connect(("127.0.0.1", self._port))
            made.setblocking(False)
            made.sendall(UPGRADE)
            self._opening[made.fileno()] = Opening(made, token, chats, left=len(chats))
            self._epoll.register(made.fileno(), select.EPOLLIN)

    def _continue(self, fd: int) -> None:
        opening = self._opening[fd]
        count = self._received(opening.socket, 0)
        opening.received += self._view[:count]
        if not opening.upgraded and HEAD_END in opening.received:
            head, _, rest = bytes(opening.received).partition(HEAD_END)
            if not head.startswith(b"HTTP/1.1 101"):
                self._fail(fd, head)
                return
            opening.upgraded, opening.received = True, bytearray(rest)
        if opening.upgraded:
            for payload in frames_in(opening.received):
                self._step(opening, payload)
        if not opening.left:
            del self._opening[fd]
            self._open[fd] = opening.socket
            self._fill()
        elif not count:
            self._fail(fd, bytes(opening.received))

    def _step(self, opening: Opening, payload: bytes) -> None:
        if payload.startswith(b"0{"):
            opening.socket.sendall(connect_frame(opening.token))
        elif payload.startswith(b"40"):
            asks = [join_frame(number, chat) for number, chat in enumerate(opening.chats)]
            opening.socket.sendall(b"".join(asks))
        elif payload.startswith(b"43"):
            if b'"ok":true' not in payload:
                self._problem = payload.decode()[:300]
            opening.left -= 1
        elif payload.startswith(b"44"):
            self._fail(opening.socket.fileno(), payload)

    def _fail(self, fd: int, said: bytes) -> None:
        self._problem = said.decode(errors="replace")[:300] or "closed"
        self._lost += 1
        if (opening := self._opening.pop(fd, None)) is not None:
            opening.socket.close()
        self._fill()

    def _received(self, readable: socket.socket, at: int) -> int:
        try:
            return readable.recv_into(self._view[at:])
        except OSError:
            return 0

    def _read(self, fd: int) -> None:
        tail = self._tails.pop(fd, None)
        at = 0
        if tail:
            at = len(tail)
            self._buffer[:at] = tail
        count = self._received(self._open[fd], at)
        if not count:
            self._open.pop(fd).close()
            self._lost += 1
            self._problem = self._problem or "the server closed a socket"
            return
        end = at + count
        buffer = self._buffer
        self._bytes += count
        self._frames += buffer.count(self._end, 0, end)
        if buffer.find(PING, 0, end) >= 0:
            self._pings += 1
            self._open[fd].send(PONG)
        if buffer[end - 1] not in _WHOLE:
            self._tails[fd] = bytes(buffer[max(0, end - self._kept) : end])
        if self._prompt:
            self._note_ages(end)

    def _note_ages(self, end: int) -> None:
        now = time.monotonic_ns()
        at = self._buffer.find(STAMP, 0, end)
        while at >= 0:
            start = at + len(STAMP)
            if start + STAMP_DIGITS <= end:
                self._ages.append(now - int(self._buffer[start : start + STAMP_DIGITS]))
            at = self._buffer.find(STAMP, start, end)


if __name__ == "__main__":
    Clients(prompt="prompt" in sys.argv, counting="replies" if "replies" in sys.argv else "messages").run()
