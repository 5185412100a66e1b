"""Posts from many connections in one process: each is kept, and waits for its answer.

It reads a JSON command a line from stdin and answers each with a line.
"""

import itertools
import json
import os
import random
import re
import select
import socket
import sys
import time
from collections import deque
from pathlib import Path
from typing import Any, Final

sys.path.insert(0, str(Path(__file__).parent.parent.parent))

from bench.load.frames import HEAD_END, stamped

CONTENT_CHARACTERS: Final = 150
_LENGTH: Final = re.compile(rb"content-length: (\d+)", re.IGNORECASE)
_WORDS: Final = "The quick brown fox jumps over the lazy dog. " * 4
_CREATED: Final = b"HTTP/1.1 201"


class Posters:
    """The posters' connections; `speakers` are who may post where, as a token and a chat."""

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self._epoll.register(0, select.EPOLLIN)
        self._commands = bytearray()
        self._connections: dict[int, socket.socket] = {}
        self._received: dict[int, bytes] = {}
        self._idle: deque[int] = deque()
        self._heads: list[tuple[bytes, bytes]] = []
        self._next = itertools.cycle([0])
        self._due: deque[tuple[int, int]] = deque()
        self._until = 0.0
        self._began = 0.0
        self._posts = 0
        self._problem = ""

    def run(self) -> None:
        """Runs commands and posts until stdin ends."""
        while True:
            for fd, _ in self._epoll.poll(self._pause()):
                if fd == 0:
                    if not self._run_commands():
                        return
                else:
                    self._read(fd)
            self._go_on()

    def setup(self, port: int, speakers: list[Any], connections: int) -> None:
        """Connects; posts will be by these in turn, in an order that keeps a chat's apart."""
        self._heads = [self._request(token, chat) for token, chat in speakers]
        order = list(range(len(speakers)))
        random.Random(6).shuffle(order)
        self._next = itertools.cycle(order)
        for _ in range(connections):
            made = socket.create_connection(("127.0.0.1", port))
            made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            made.setblocking(False)
            self._connections[made.fileno()] = made
            self._idle.append(made.fileno())
            self._epoll.register(made.fileno(), select.EPOLLIN)
        self._answer()

    def post(self, seconds: float) -> None:
        """Posts on every connection, again at each answer, for that long; answers with `posts`."""
        self._start()
        self._until = time.monotonic() + seconds

    def post_at(self, moments: list[Any]) -> None:
        """Posts at each moment, in seconds from now, as the speaker with that number."""
        self._start()
        began = time.monotonic_ns()
        self._due.extend((began + int(at * 1e9), speaker) for at, speaker in moments)

    def close(self) -> None:
        """Closes all connections."""
        for each in self._connections.values():
            each.close()
        self._connections.clear()
        self._idle.clear()
        self._answer()

    def _start(self) -> None:
        self._posts, self._began = 0, time.monotonic()

    def _run_commands(self) -> bool:
        data = os.read(0, 1 << 20)
        self._commands += data
        *lines, rest = bytes(self._commands).split(b"\n")
        self._commands = bytearray(rest)
        for line in lines:
            command = json.loads(line)
            getattr(self, command.pop("do"))(**command)
        return bool(data)

    def _pause(self) -> float:
        if self._due and self._idle:
            return max(0.0, (self._due[0][0] - time.monotonic_ns()) / 1e9)
        return 1.0

    def _go_on(self) -> None:
        now = time.monotonic_ns()
        if self._until and not self._problem:
            if now / 1e9 < self._until:
                while self._idle:
                    self._send(next(self._next), time.monotonic_ns())
            elif len(self._idle) == len(self._connections):
                self._finish()
        elif self._due:
            while self._due and self._idle and self._due[0][0] <= now:
                sent, speaker = self._due.popleft()
                self._send(speaker, sent)
        elif self._began and len(self._idle) == len(self._connections):
            self._finish()
        if self._problem and self._began:
            self._finish()

    def _finish(self) -> None:
        seconds, self._until, self._began = time.monotonic() - self._began, 0.0, 0.0
        self._due.clear()
        self._answer(posts=self._posts, seconds=seconds)

    def _answer(self, **more: Any) -> None:
        sys.stdout.write(json.dumps({"problem": self._problem, **more}) + "\n")
        sys.stdout.flush()

    def _request(self, token: str, chat: str) -> tuple[bytes, bytes]:
        """Returns the bytes before and after a message's text, which always has the same length."""
        before, after = f'{{"chatId":"{chat}","content":"'.encode(), b'"}'
        head = (
            f"POST /api/chat/messages HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {token}\r\n"
            "Content-Type: application/json\r\n"
            f"Content-Length: {len(before) + CONTENT_CHARACTERS + len(after)}\r\n\r\n"
        )
        return head.encode() + before, after

    def _send(self, speaker: int, sent: int) -> None:
        before, after = self._heads[speaker]
        text = stamped(sent, _WORDS)[:CONTENT_CHARACTERS]
        self._connections[self._idle.popleft()].sendall(before + text.encode() + after)

    def _read(self, fd: int) -> None:
        connection = self._connections.get(fd)
        if connection is None:
            return
        data = connection.recv(1 << 16)
        answer = self._received.get(fd, b"") + data
        head, end, body = answer.partition(HEAD_END)
        length = _LENGTH.search(head)
        if end and length is not None and len(body) >= int(length[1]):
            self._received[fd] = b""
            self._idle.append(fd)
            self._posts += 1
            if not head.startswith(_CREATED):
                self._problem = answer.decode(errors="replace")[:500]
        elif data:
            self._received[fd] = answer
        else:
            self._problem = "the server closed a connection"


if __name__ == "__main__":
    Posters().run()
