"""The server's end of a WebSocket: frames in whatever pieces they come, and what waits for a slow client."""

import asyncio
from collections.abc import Iterator
from itertools import cycle
from operator import xor
from typing import Any, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from wsproto.connection import Connection, ConnectionType
from wsproto.events import TextMessage

from ws_gateway.transport.frames import Frame, frame_head
from ws_gateway.transport.open_websockets import OpenWebSockets
from ws_gateway.transport.turn_writes import HIGH_WATER
from ws_gateway.transport.websocket import WebSocket

MAX_MESSAGE = 70_000
MAX_WAITING = 100_000


class Transport:
    """Keeps what is written; its client reads nothing while `stuck`."""

    def __init__(self) -> None:
        self.written: list[bytes] = []
        self.protocol: asyncio.Protocol | None = None
        self.stuck = False
        self.reading = True
        self.closed = False
        self.cut = asyncio.Event()

    def set_write_buffer_limits(self, high: int) -> None:
        assert high == HIGH_WATER

    def set_protocol(self, protocol: asyncio.Protocol) -> None:
        self.protocol = protocol

    def write(self, data: bytes) -> None:
        assert not self.closed
        self.written.append(data)
        if self.stuck and self.protocol is not None:
            self.protocol.pause_writing()

    def pause_reading(self) -> None:
        self.reading = False

    def resume_reading(self) -> None:
        self.reading = True

    def is_closing(self) -> bool:
        return self.closed

    def close(self) -> None:
        self.closed = True

    def abort(self) -> None:
        self.closed = True
        self.cut.set()


class Owner:
    """Notes what it is told."""

    def __init__(self) -> None:
        self.got: list[str | bytes] = []
        self.waiting: list[int] = []
        self.ends = 0

    def received(self, data: str | bytes) -> None:
        self.got.append(data)

    def slow(self, waiting: int) -> None:
        self.waiting.append(waiting)

    def lost(self) -> None:
        self.ends += 1


class End:
    """A WebSocket with its transport and its owner."""

    def __init__(self, all_: OpenWebSockets) -> None:
        self.transport = Transport()
        self.owner = Owner()
        self.websocket = WebSocket(
            cast("asyncio.Transport", self.transport),
            self.owner,
            all_=all_,
            max_message=MAX_MESSAGE,
            max_waiting=MAX_WAITING,
        )

    @property
    def closed_with(self) -> int | None:
        """The code of the close frame that was written."""
        last = self.transport.written[-1] if self.transport.written else b""
        return int.from_bytes(last[-2:], "big") if last[-4:-2] == b"\x88\x02" else None


class Loop:
    """Runs what is called soon when it is told to."""

    def __init__(self) -> None:
        self.soon: list[Any] = []

    def call_soon(self, call: Any) -> None:
        self.soon.append(call)

    def turn(self) -> None:
        """The turn ends."""
        soon, self.soon = self.soon, []
        for call in soon:
            call()


@pytest.fixture
async def loop(monkeypatch: pytest.MonkeyPatch) -> Loop:
    return Loop()


@pytest.fixture
async def end(loop: Loop) -> End:
    all_ = OpenWebSockets()
    all_.writes._loop = cast("asyncio.AbstractEventLoop", loop)
    return End(all_)


def masked(opcode: int, payload: bytes, *, fin: bool = True, key: bytes = b"\x01\x9f\x00\x7e") -> bytes:
    """A client's frame."""
    head = bytearray(frame_head(opcode, len(payload)))
    head[0] = (0x80 if fin else 0) | opcode
    head[1] |= 0x80
    return bytes(head) + key + bytes(map(xor, payload, cycle(key)))


def texts_of(reader: Connection) -> Iterator[TextMessage]:
    """Returns what was read, which is text and nothing else."""
    for each in reader.events():
        assert isinstance(each, TextMessage)
        yield each


def pieces(data: bytes, cuts: list[int]) -> Iterator[bytes]:
    """The data, cut at those places."""
    start = 0
    for cut in sorted({cut % (len(data) + 1) for cut in cuts}):
        yield data[start:cut]
        start = cut
    yield data[start:]


MESSAGES = st.lists(
    st.one_of(
        st.text(max_size=200),
        st.binary(max_size=200),
        st.sampled_from([125, 126, 127, 65_535, 65_536, MAX_MESSAGE]).map(lambda size: "x" * size),
    ),
    max_size=4,
)


@settings(max_examples=50, deadline=None)
@given(MESSAGES, st.lists(st.integers(0, 400_000), max_size=12), st.booleans())
def test_messages_arrive_whole_however_they_are_cut(
    messages: list[str | bytes], cuts: list[int], fragmented: bool
) -> None:
    """By TCP, and by the client into fragments with a ping in between."""

    async def check() -> None:
        end = End(OpenWebSockets())
        sent = b""
        for message in messages:
            opcode, payload = (1, message.encode()) if isinstance(message, str) else (2, message)
            if fragmented:
                middle = len(payload) // 2
                sent += masked(opcode, payload[:middle], fin=False) + masked(9, b"hey")
                sent += masked(0, payload[middle:])
            else:
                sent += masked(opcode, payload)
        for piece in pieces(sent, cuts):
            end.websocket.data_received(piece)
        await asyncio.sleep(0)
        assert end.owner.got == messages
        assert b"".join(end.transport.written) == b"\x8a\x03hey" * (len(messages) * fragmented)

    asyncio.run(check())


@pytest.mark.parametrize(
    ("frame", "code"),
    [
        (frame_head(1, 2) + b"hi", 1002),  # not masked
        (b"\xc1" + masked(1, b"hi")[1:], 1002),  # a reserved bit
        (masked(3, b"hi"), 1002),  # a reserved opcode
        (masked(0xB, b""), 1002),
        (masked(0, b"hi"), 1002),  # a continuation of nothing
        (masked(1, b"a", fin=False) + masked(1, b"b"), 1002),  # a message within a message
        (masked(9, b"hi", fin=False), 1002),  # a fragmented ping
        (masked(9, b"x" * 126), 1002),  # a long ping
        (masked(1, b"\xff\xfe"), 1007),
        (masked(1, b"\xed\xa0\x80"), 1007),  # a surrogate
        (masked(1, b"x" * (MAX_MESSAGE + 1)), 1009),
        (b"\x81\xff" + (2**63).to_bytes(8, "big") + b"\0\0\0\0", 1009),
        (masked(1, b"x" * 60_000, fin=False) + masked(0, b"x" * 60_000), 1009),
    ],
)
async def test_what_is_no_websocket_frame_ends_it_with_its_code(end: End, frame: bytes, code: int) -> None:
    """Nothing that follows is handed on."""
    end.websocket.data_received(frame)
    assert end.closed_with == code
    assert end.owner.ends == 1
    end.websocket.data_received(masked(1, b"more"))
    assert end.owner.got == []


async def test_a_client_that_says_goodbye_is_answered(end: End) -> None:
    """With its own code; then the connection is closed."""
    end.websocket.data_received(masked(8, (1001).to_bytes(2, "big") + b"bye"))
    assert end.closed_with == 1001
    assert end.transport.closed


async def test_what_is_sent_in_one_turn_is_written_at_once_in_order(end: End, loop: Loop) -> None:
    """Another's reader takes it for what it is, in all three forms of a length."""
    texts = ["short", "m" * 3_000, "l" * 70_000, "last"]
    for text in texts:
        end.websocket.send(Frame(text))
    assert end.transport.written == []
    loop.turn()
    assert len(end.transport.written) == 2  # the second piece begins behind 64 KiB
    reader = Connection(ConnectionType.CLIENT)
    reader.receive_data(b"".join(end.transport.written))
    read = "".join(f"{each.data}{'|' * each.message_finished}" for each in texts_of(reader))
    assert read == "".join(f"4{text}|" for text in texts)


async def test_a_client_that_does_not_read_is_not_read_from(end: End, loop: Loop) -> None:
    """Until it takes what was written."""
    end.transport.stuck = True
    end.websocket.send(Frame("one"))
    loop.turn()
    assert not end.transport.reading
    end.websocket.send(Frame("two"))
    loop.turn()
    assert len(end.transport.written) == 1
    end.transport.stuck = False
    end.websocket.resume_writing()
    assert end.transport.written[1:] == [Frame("two").wire]
    assert end.transport.reading


async def test_droppable_events_go_first_and_then_the_client(end: End, loop: Loop) -> None:
    """At most so many bytes wait; answers to what the client asked do not count."""
    end.transport.stuck = True
    end.websocket.send(Frame("first"))
    loop.turn()
    end.websocket.send(Frame("a" * 1_000_000, answers=True))
    typing, message = Frame("t" * 30_000, droppable=True), Frame("m" * 30_000)
    for frame in (typing, message, typing, message, typing):
        end.websocket.send(frame)
    assert end.owner.waiting == []
    end.websocket.send(Frame("m" * 30_000))
    assert end.owner.waiting == []
    end.websocket.send(Frame("m" * 30_000))
    assert end.owner.waiting == [4 * len(message.wire)]
    end.websocket.resume_writing()
    assert b"t" * 100 not in b"".join(end.transport.written)


async def test_a_client_that_ignores_a_goodbye_is_cut(end: End, monkeypatch: pytest.MonkeyPatch) -> None:
    """It has a few seconds."""
    monkeypatch.setattr("ws_gateway.transport.websocket.CLOSE_SECONDS", 0.0)
    end.websocket.close()
    assert end.closed_with == 1000
    await asyncio.wait_for(end.transport.cut.wait(), 5)


async def test_what_has_gone_out_no_longer_counts_as_waiting(end: End, loop: Loop) -> None:
    """A client that is slow again and again, and takes everything each time, goes without nothing."""
    typing = Frame("t" * 60_000, droppable=True)
    for _ in range(3):
        end.transport.stuck = True
        end.websocket.send(Frame("first"))
        loop.turn()
        end.websocket.send(typing)
        end.transport.stuck = False
        end.websocket.resume_writing()
        loop.turn()
    assert end.transport.written.count(typing.wire) == 3
