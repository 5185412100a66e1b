"""Deliveries taken from a connection's bytes: as aiormq would have given them out; the rest is as it was."""

import asyncio
from dataclasses import dataclass, field
from typing import Any
from unittest.mock import patch

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pamqp import body, commands, frame, header, heartbeat

from shared.bus.rabbit import deliveries
from shared.bus.rabbit import frame_tap as frames
from shared.bus.rabbit.deliveries import DeliveryProtocol
from shared.bus.rabbit.wire_format import content_type_and_headers

CHANNEL = 1
SIMPLE = (
    st.text(max_size=20)
    | st.binary(max_size=20).map(bytearray)
    | st.integers(-(2**63), 2**63 - 1)
    | st.booleans()
    | st.none()
)
VALUES = (
    SIMPLE | st.lists(SIMPLE, max_size=3) | st.dictionaries(st.text("abc_:", max_size=8), SIMPLE, max_size=3)
)
HEADERS = st.dictionaries(st.text("abcé_:", max_size=20), VALUES, max_size=6)


@dataclass
class Message:
    """A message on its way to a consumer, and the frames that it is."""

    tag: int
    parts: list[bytes]
    channel: int = CHANNEL
    headers: dict[str, Any] = field(default_factory=dict)
    content_type: str | None = "application/json"

    @property
    def body(self) -> bytes:
        return b"".join(self.parts)

    def header(self) -> bytes:
        properties = commands.Basic.Properties(
            content_type=self.content_type, headers=self.headers or None, delivery_mode=2, message_id="m"
        )
        return header.ContentHeader(0, len(self.body), properties).marshal()

    def frames(self) -> list[bytes]:
        deliver = commands.Basic.Deliver("ctag1.x", self.tag, False, "roomcast.events", "message.created")
        properties = header.ContentHeader()
        properties.unmarshal(self.header())
        return [
            frame.marshal(deliver, self.channel),
            frame.marshal(properties, self.channel),
            *(frame.marshal(body.ContentBody(part), self.channel) for part in self.parts),
        ]


def messages(channel: int = CHANNEL) -> st.SearchStrategy[Message]:
    return st.builds(
        Message,
        tag=st.integers(1, 2**40),
        parts=st.lists(st.binary(min_size=1, max_size=50), max_size=3),
        channel=st.just(channel),
        headers=HEADERS,
        content_type=st.none() | st.sampled_from(["application/json", "é" * 20]),
    )


OTHERS = st.sampled_from(
    [
        frame.marshal(heartbeat.Heartbeat(), 0),
        frame.marshal(commands.Basic.ConsumeOk("ctag1.x"), CHANNEL),
        frame.marshal(commands.Basic.Ack(7, multiple=True), 2),
        frame.marshal(commands.Connection.Blocked("disk"), 0),
    ]
)


@pytest.fixture(autouse=True)
def no_heartbeats(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine that is busy for over a second would have one put in between the frames that are compared."""
    monkeypatch.setattr(frames, "HEARTBEAT_SECONDS", 3600.0)


@pytest.fixture
async def reading() -> "Reading":
    return Reading()


class Reading:
    """A connection's reading side, with what was taken from it and what it left."""

    def __init__(self) -> None:
        loop = asyncio.get_running_loop()
        self.reader = asyncio.StreamReader(loop=loop, limit=2**30)
        self.protocol = DeliveryProtocol(self.reader, loop=loop)
        self.taken: list[tuple[int, bytes, bytes]] = []
        self.protocol.deliver(CHANNEL, self._receive)

    def _receive(self, *message: Any) -> None:
        self.taken.append(message)

    async def left(self) -> bytes:
        """All that went on to aiormq."""
        self.reader.feed_eof()
        return await self.reader.read()


@given(data=st.data())
async def test_deliveries_are_taken_out_whatever_the_pieces(data: st.DataObject) -> None:
    """Messages in order and whole; every other frame, those of other channels too, as it came."""
    reading = Reading()
    sent = data.draw(st.lists(messages() | messages(2) | OTHERS, max_size=8))
    own = [each for each in sent if isinstance(each, Message) and each.channel == CHANNEL]
    pieces = [b"".join(each.frames()) if isinstance(each, Message) else each for each in sent]
    stream = b"".join(pieces)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=10)))
    # However late the machine is, it is all one slice.
    with patch.object(deliveries, "_SLICE_SECONDS", 3600.0):
        for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True):
            reading.protocol.data_received(stream[start:end])
    assert reading.taken == [(each.tag, each.header(), each.body) for each in own]
    others = [piece for piece, each in zip(pieces, sent, strict=True) if each not in own]
    assert await reading.left() == b"".join(others)


async def test_who_keeps_the_connection_hears_that_it_lives(
    reading: "Reading", monkeypatch: pytest.MonkeyPatch
) -> None:
    """The broker sends no heartbeat while it delivers: one is put in from time to time."""
    beat = frame.marshal(heartbeat.Heartbeat(), 0)
    message = b"".join(Message(1, [b"{}"]).frames())
    reading.protocol.data_received(beat)
    reading.protocol.data_received(message)
    monkeypatch.setattr(frames, "HEARTBEAT_SECONDS", 0.0)
    reading.protocol.data_received(message)
    reading.protocol.data_received(message[:20])
    assert await reading.left() == beat + beat


async def test_many_messages_let_others_have_their_turn(
    reading: "Reading", monkeypatch: pytest.MonkeyPatch
) -> None:
    """Messages that were read at once are handled in slices, in order, also what is read meanwhile."""
    monkeypatch.setattr(deliveries, "_SLICE_SECONDS", 0.0)
    for tags in (range(1, 4), range(4, 6)):
        reading.protocol.data_received(b"".join(b"".join(Message(tag, [b"{}"]).frames()) for tag in tags))
    seen = [len(reading.taken)]
    while len(reading.taken) < 5:
        await asyncio.sleep(0)
        seen.append(len(reading.taken))
    assert seen == [1, 2, 3, 4, 5]
    assert [tag for tag, _, _ in reading.taken] == [1, 2, 3, 4, 5]


async def test_what_is_left_in_the_end_is_not_handed_out(
    reading: "Reading", monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is not acknowledged either: the next link has it again."""
    monkeypatch.setattr(deliveries, "_SLICE_SECONDS", 0.0)
    reading.protocol.data_received(b"".join(b"".join(Message(tag, [b"{}"]).frames()) for tag in (1, 2, 3)))
    reading.protocol.stop()
    for _ in range(5):
        await asyncio.sleep(0)
    reading.protocol.data_received(b"".join(Message(4, [b"{}"]).frames()))
    assert [tag for tag, _, _ in reading.taken] == [1]


@pytest.mark.parametrize(
    "stream",
    [
        b"AMQP\x00\x00\x09\x01",
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
        Message(1, [b"{}"]).frames()[0][:-1] + b"x",
    ],
)
async def test_what_is_no_amqp_goes_on_as_it_is(reading: "Reading", stream: bytes) -> None:
    """aiormq, which keeps the connection, says what is wrong with it."""
    reading.protocol.data_received(stream)
    reading.protocol.data_received(b"more")
    assert await reading.left() == stream + b"more"
    assert reading.taken == []


@given(messages())
def test_a_content_header_says_what_pamqp_says(message: Message) -> None:
    """The headers may be of any type; properties behind them do no harm."""
    known = header.ContentHeader()
    known.unmarshal(message.header())
    expected = (known.properties.content_type, known.properties.headers or {})
    assert content_type_and_headers(message.header()) == expected


@given(messages(), st.data())
def test_a_content_header_that_breaks_off_is_refused(message: Message, data: st.DataObject) -> None:
    """By a ValueError, and no other error; where nothing that is asked for is missing, it is read."""
    whole = message.header()
    cut = whole[: data.draw(st.integers(0, len(whole) - 1))]
    try:
        assert content_type_and_headers(cut) == content_type_and_headers(whole)
    except ValueError:
        assert len(cut) < len(whole)
