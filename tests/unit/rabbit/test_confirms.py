"""Publishing past aiormq: messages as pamqp reads them, and confirms whatever they look like."""

import asyncio
import random
from collections.abc import Callable
from contextlib import suppress
from typing import Any, cast

import pytest
import uvloop
from hypothesis import given
from hypothesis import strategies as st
from pamqp import body, commands, frame, header, heartbeat

from shared.bus.rabbit import frame_tap as frames
from shared.bus.rabbit.confirms import Batch, ConfirmProtocol
from shared.bus.rabbit.messages import Outgoing
from shared.bus.rabbit.wire_format import frames_of

CHANNEL = 1
FRAME_MAX = 4096
NUMBERS = st.integers(-(2**63), 2**63 - 1)
VALUES = st.recursive(
    st.text(max_size=40) | NUMBERS | st.booleans() | st.none() | st.floats(width=32, allow_nan=False),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text("abc", max_size=5), inner, max_size=2)
    ),
    max_leaves=8,
)
MESSAGES = st.builds(
    Outgoing,
    routing_key=st.text("abc.é", max_size=60),
    body=st.binary(max_size=3 * FRAME_MAX),
    exchange=st.sampled_from(["", "roomcast.events"]),
    content_type=st.sampled_from(["application/json", "é" * 100]),
    headers=st.none() | st.dictionaries(st.text("abcé_:", max_size=20), VALUES, max_size=5),
    persistent=st.booleans(),
    mandatory=st.booleans(),
)


class Broker(asyncio.Transport):
    """Takes what is published, and answers as it is told."""

    def __init__(self) -> None:
        super().__init__()
        self.written = b""

    def write(self, data: Any) -> None:
        self.written += data

    def messages(self) -> list[tuple[commands.Basic.Publish, header.ContentHeader, bytes]]:
        """Reads what was published, as pamqp does."""
        found: list[Any] = []
        rest = self.written
        while rest:
            size, channel, part = frame.unmarshal(rest)
            assert channel == CHANNEL
            assert size <= FRAME_MAX
            rest = rest[size:]
            if isinstance(part, body.ContentBody):
                found[-1] = (*found[-1][:2], found[-1][2] + part.value)
            elif isinstance(part, header.ContentHeader):
                found[-1] = (found[-1], part, b"")
            else:
                found.append(part)
        return found


class Publishing:
    """A connection that is published on, with a broker at its other end."""

    def __init__(self) -> None:
        loop = asyncio.get_running_loop()
        self.reader = asyncio.StreamReader(loop=loop, limit=2**30)
        self.protocol = ConfirmProtocol(self.reader, loop=loop)
        self.broker = Broker()
        self.protocol.connection_made(self.broker)
        self.protocol.open(CHANNEL, frame_max=FRAME_MAX)

    def publish(self, count: int, *, mandatory: bool = False) -> Batch:
        return self.protocol.publish([Outgoing("key", b"{}", mandatory=mandatory) for _ in range(count)])

    def hear(self, *parts: Any, channel: int = CHANNEL) -> None:
        self.protocol.data_received(b"".join(frame.marshal(part, channel) for part in parts))

    async def left(self) -> bytes:
        """All that went on to aiormq."""
        self.reader.feed_eof()
        return await self.reader.read()


def given_back(number: int, content: bytes = b"{}") -> list[Any]:
    """The frames in which the broker gives a message back."""
    properties = commands.Basic.Properties(message_id=str(number))
    parts: list[Any] = [
        commands.Basic.Return(312, "NO_ROUTE", "roomcast.events", "key"),
        header.ContentHeader(0, len(content), properties),
    ]
    return [*parts, body.ContentBody(content)] if content else parts


@pytest.fixture(autouse=True)
def no_heartbeats(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine that is busy for over a second would have one put in between the frames that are compared."""
    monkeypatch.setattr(frames, "HEARTBEAT_SECONDS", 3600.0)


@pytest.fixture
async def publishing() -> Publishing:
    return Publishing()


@given(message=MESSAGES, identity=st.sampled_from(["", "17"]))
def test_a_message_is_written_as_pamqp_reads_it(message: Outgoing, identity: str) -> None:
    """Every property and header, and the body in frames of the size that was agreed."""
    broker = Broker()
    broker.write(frames_of(message, channel=CHANNEL, frame_max=FRAME_MAX, message_id=identity))
    [(publish, properties, content)] = broker.messages()
    assert (publish.exchange, publish.routing_key, publish.mandatory, publish.immediate) == (
        message.exchange,
        message.routing_key,
        message.mandatory,
        False,
    )
    assert content == message.body
    assert properties.body_size == len(message.body)
    assert properties.properties.content_type == message.content_type
    assert properties.properties.headers == (message.headers or None)
    assert properties.properties.delivery_mode == (2 if message.persistent else 1)
    assert properties.properties.message_id == (identity or None)


def test_what_does_not_fit_is_refused_before_it_is_written() -> None:
    """A routing key of more than 255 bytes; the number of messages stays that of the broker."""
    with pytest.raises(ValueError, match="more than 255 bytes"):
        frames_of(Outgoing("k" * 256, b""), channel=1, frame_max=FRAME_MAX)


@given(data=st.data())
async def test_each_batch_is_over_when_all_of_it_is_confirmed(data: st.DataObject) -> None:
    """Alone or with all before it, in any order, in any pieces, between frames that are aiormq's."""
    publishing = Publishing()
    sizes = data.draw(st.lists(st.integers(1, 5), min_size=1, max_size=6))
    batches = [publishing.publish(size) for size in sizes]
    open_numbers = set(range(1, sum(sizes) + 1))
    last = [sum(sizes[: index + 1]) for index in range(len(sizes))]
    expected = b""
    chance = data.draw(st.randoms(use_true_random=False))
    while open_numbers:
        number = chance.choice(sorted(open_numbers))
        multiple = chance.random() < 0.4
        settled = {each for each in open_numbers if each <= number} if multiple else {number}
        open_numbers -= settled
        other = frame.marshal(commands.Basic.Ack(number, multiple=True), 2) if chance.random() < 0.5 else b""
        expected += other
        stream = other + frame.marshal(commands.Basic.Ack(number, multiple=multiple), CHANNEL)
        cut = chance.randrange(len(stream))
        publishing.protocol.data_received(stream[:cut])
        publishing.protocol.data_received(stream[cut:])
        for batch, size, end in zip(batches, sizes, last, strict=True):
            is_open = bool(open_numbers & set(range(end - size + 1, end + 1)))
            assert batch.settled.done() is not is_open
    assert all(
        (batch.missing, batch.refused, batch.returned, batch.lost) == (0, 0, 0, "") for batch in batches
    )
    assert await publishing.left() == expected


async def test_a_message_that_is_refused_is_told_to_its_batch_alone(publishing: Publishing) -> None:
    """A nack, which the broker sends when it failed itself."""
    first, second = publishing.publish(2), publishing.publish(1)
    publishing.hear(commands.Basic.Nack(1), commands.Basic.Ack(3, multiple=True))
    assert (first.settled.done(), first.refused, first.returned) == (True, 1, 0)
    assert (second.settled.done(), second.refused) == (True, 0)


@pytest.mark.parametrize("content", [b"", b"{}"])
async def test_a_message_that_reached_no_queue_is_known_by_its_number(
    publishing: Publishing, content: bytes
) -> None:
    """It comes back before it is confirmed, other confirms between the two."""
    first, second = publishing.publish(2, mandatory=True), publishing.publish(2, mandatory=True)
    assert [properties.properties.message_id for _, properties, _ in publishing.broker.messages()] == [
        "1",
        "2",
        "3",
        "4",
    ]
    publishing.hear(*given_back(3, content), commands.Basic.Ack(2, multiple=True))
    assert (first.settled.done(), first.refused) == (True, 0)
    assert not second.settled.done()
    publishing.hear(commands.Basic.Ack(4, multiple=True))
    assert (second.settled.done(), second.refused, second.returned) == (True, 1, 1)
    assert await publishing.left() == b""


async def test_what_is_not_answered_when_the_link_is_lost_is_lost(publishing: Publishing) -> None:
    """Its batch says why; what was answered stays so, and late answers change nothing."""
    first, second, third = (publishing.publish(1) for _ in range(3))
    publishing.hear(commands.Basic.Ack(1))
    publishing.protocol.lose("the cable")
    publishing.hear(commands.Basic.Ack(3, multiple=True))
    assert [batch.lost for batch in (first, second, third)] == ["", "the cable", "the cable"]
    assert all(batch.settled.done() for batch in (first, second, third))


async def test_what_cannot_be_written_is_lost(
    publishing: Publishing, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A connection that was reset says so with an error, some time before it is told to be lost."""

    def reset(_: bytes) -> None:
        raise RuntimeError("unable to perform operation on <TCPTransport closed=True>; the handler is closed")

    before = publishing.publish(1)
    monkeypatch.setattr(publishing.broker, "write", reset)
    batch = publishing.publish(2)
    assert batch.settled.done()
    assert "the handler is closed" in batch.lost
    assert before.lost == batch.lost
    assert publishing.publish(1).lost == batch.lost


@pytest.mark.parametrize("loops", [asyncio.new_event_loop, uvloop.new_event_loop])
@pytest.mark.parametrize("end", ["fin", "rst", "aiormq"])
def test_publishing_while_a_connection_ends_never_fails(loops: Callable[[], Any], end: str) -> None:
    """In each turn of the event loop until it is known to be lost; what is published then is lost."""

    async def publish_until_lost() -> None:
        accepted: asyncio.Future[asyncio.StreamWriter] = asyncio.get_running_loop().create_future()
        server = await asyncio.start_server(lambda _, writer: accepted.set_result(writer), "127.0.0.1")
        loop = asyncio.get_running_loop()
        reader = asyncio.StreamReader()
        protocol = ConfirmProtocol(reader, loop=loop)
        port = server.sockets[0].getsockname()[1]
        transport, _ = await loop.create_connection(lambda: protocol, "127.0.0.1", port)
        protocol.open(CHANNEL, frame_max=FRAME_MAX)
        writer = await accepted
        if end == "aiormq":
            transport.write_eof()
        elif end == "rst":
            writer.transport.abort()
        else:
            writer.close()
        batches: list[Batch] = []
        async with asyncio.timeout(10):
            while not batches or not batches[-1].lost:
                batches.append(protocol.publish([Outgoing("key", b"x" * 10_000)]))
                await asyncio.sleep(0)
                if len(batches) > 100:
                    transport.close()
        assert all(batch.settled.done() for batch in batches)
        for each in (transport, writer.transport):
            each.abort()
        with suppress(OSError):
            await writer.wait_closed()
        server.close()

    with asyncio.Runner(loop_factory=loops) as runner:
        runner.run(publish_until_lost())


async def test_other_answers_on_the_channel_are_aiormqs(publishing: Publishing) -> None:
    """Such as the end of the channel; a content that nobody gave back, too."""
    others = [commands.Channel.Close(404, "no exchange", 60, 40), commands.Queue.DeclareOk("q", 0, 0)]
    publishing.publish(1)
    publishing.hear(*others)
    assert await publishing.left() == b"".join(frame.marshal(cast("Any", each), CHANNEL) for each in others)


async def test_aiormq_hears_that_the_connection_lives(
    publishing: Publishing, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The broker sends no heartbeat while it sends confirms: one is put in from time to time."""
    publishing.publish(2)
    publishing.hear(commands.Basic.Ack(1))
    monkeypatch.setattr(frames, "HEARTBEAT_SECONDS", 0.0)
    publishing.hear(commands.Basic.Ack(2))
    assert await publishing.left() == frame.marshal(heartbeat.Heartbeat(), 0)


async def test_large_messages_keep_their_frames_together(publishing: Publishing) -> None:
    """Bodies may be of none, of one and of several frames, one behind the other."""
    sizes = [0, 1, FRAME_MAX - 8, FRAME_MAX - 7, 3 * FRAME_MAX]
    contents = [random.Random(size).randbytes(size) for size in sizes]
    publishing.protocol.publish([Outgoing("key", content) for content in contents])
    assert [content for _, _, content in publishing.broker.messages()] == contents
