"""A client's bytes become messages, in whatever pieces they come; what no client may send has its code."""

from itertools import cycle
from operator import xor

import pytest

from ws_gateway.transport.frame_reader import (
    BINARY,
    CLOSE,
    CONTINUATION,
    NOT_UTF8,
    PING,
    PONG,
    PROTOCOL_ERROR,
    TEXT,
    TOO_BIG,
    ControlFrame,
    FrameError,
    FrameReader,
)
from ws_gateway.transport.frames import frame_head

MAX_MESSAGE = 1_000
KEYS = (b"\x01\x9f\x00\x7e", b"\0\0\0\0", b"\xff\xff\xff\xff")

Got = list[str | bytes | ControlFrame]


def masked(opcode: int, payload: bytes, *, fin: bool = True, key: bytes = KEYS[0]) -> bytes:
    """A client's frame."""
    head = bytearray(frame_head(opcode, len(payload)))
    head[0] = (0x80 if fin else 0) | opcode
    head[1] |= 0x80
    return bytes(head) + key + bytes(map(xor, payload, cycle(key)))


def read(reader: FrameReader, *pieces: bytes) -> Got:
    """Reads `pieces`, and returns what comes of them, but for fragments."""
    return [each for piece in pieces for each in reader.read(piece) if each is not None]


@pytest.fixture
def reader() -> FrameReader:
    return FrameReader(MAX_MESSAGE)


@pytest.mark.parametrize("key", KEYS)
@pytest.mark.parametrize("size", [0, 1, 2, 3, 4, 5, 125, 126, 127, MAX_MESSAGE])
def test_a_message_is_unmasked_whatever_its_length(reader: FrameReader, size: int, key: bytes) -> None:
    """Text as text, the rest as bytes."""
    assert read(reader, masked(TEXT, b"x" * size, key=key)) == ["x" * size]
    payload = (bytes(range(256)) * 4)[:size]
    assert read(reader, masked(BINARY, payload, key=key)) == [payload]


SENT = (
    masked(TEXT, "grüße".encode())
    + masked(BINARY, b"\0\xff" * 70)
    + masked(TEXT, "fräg".encode()[:3], fin=False)  # in the middle of a letter
    + masked(PING, b"still there?")
    + masked(CONTINUATION, b"", fin=False)
    + masked(CONTINUATION, "fräg".encode()[3:])
    + masked(PONG, b"")
    + masked(CLOSE, b"\x03\xe8bye")
)
EXPECTED: Got = [
    "grüße",
    b"\0\xff" * 70,
    ControlFrame(PING, b"still there?"),
    "fräg",
    ControlFrame(PONG, b""),
    ControlFrame(CLOSE, b"\x03\xe8bye"),
]


@pytest.mark.parametrize("cut", range(len(SENT) + 1))
def test_frames_may_be_cut_anywhere(reader: FrameReader, cut: int) -> None:
    """Control frames come between fragments of a message."""
    assert read(reader, SENT[:cut], SENT[cut:]) == EXPECTED


@pytest.mark.parametrize("size", [1, 2, 3, 7, 64])
def test_frames_may_come_in_pieces_of_any_size(reader: FrameReader, size: int) -> None:
    """Byte by byte, too."""
    pieces = [SENT[at : at + size] for at in range(0, len(SENT), size)]
    assert read(reader, *pieces) == EXPECTED


def test_each_frame_is_told_once_a_fragment_as_nothing(reader: FrameReader) -> None:
    """The count is of frames that were read."""
    sent = masked(TEXT, b"a", fin=False) + masked(CONTINUATION, b"b", fin=False) + masked(CONTINUATION, b"c")
    assert list(reader.read(sent)) == [None, None, "abc"]


@pytest.mark.parametrize("opcode", [*range(0x3, 0x8), *range(0xB, 0x10)])
def test_opcodes_that_the_rfc_reserves_are_refused(reader: FrameReader, opcode: int) -> None:
    """With 1002."""
    with pytest.raises(FrameError) as refused:
        read(reader, masked(opcode, b"hi"))
    assert refused.value.code == PROTOCOL_ERROR


@pytest.mark.parametrize(
    ("sent", "code"),
    [
        (frame_head(TEXT, 2) + b"hi", PROTOCOL_ERROR),  # not masked
        *((bytes((0x81 | bit,)) + masked(TEXT, b"hi")[1:], PROTOCOL_ERROR) for bit in (0x40, 0x20, 0x10)),
        (masked(CONTINUATION, b"hi"), PROTOCOL_ERROR),  # of nothing
        (masked(TEXT, b"a", fin=False) + masked(TEXT, b"b"), PROTOCOL_ERROR),
        (masked(TEXT, b"a", fin=False) + masked(BINARY, b"b"), PROTOCOL_ERROR),
        *((masked(opcode, b"hi", fin=False), PROTOCOL_ERROR) for opcode in (CLOSE, PING, PONG)),
        *((masked(opcode, b"x" * 126), PROTOCOL_ERROR) for opcode in (CLOSE, PING, PONG)),
        (masked(TEXT, b"\xff\xfe"), NOT_UTF8),
        (masked(TEXT, b"\xed\xa0\x80"), NOT_UTF8),  # a surrogate
        (masked(TEXT, b"\xc3", fin=False) + masked(CONTINUATION, b"x"), NOT_UTF8),
        (masked(TEXT, b"x" * (MAX_MESSAGE + 1)), TOO_BIG),
        (b"\x82\xff" + (2**64 - 1).to_bytes(8, "big") + b"\0\0\0\0", TOO_BIG),
        (masked(TEXT, b"x" * 600, fin=False) + masked(CONTINUATION, b"x" * 401), TOO_BIG),
    ],
)
@pytest.mark.parametrize("bytewise", [False, True])
def test_what_no_client_may_send_has_its_code(
    reader: FrameReader, sent: bytes, code: int, bytewise: bool
) -> None:
    """Messages before it are handed on."""
    before = masked(TEXT, b"before")
    pieces = [bytes((byte,)) for byte in sent] if bytewise else [sent]
    got: list[object] = list(reader.read(before))
    with pytest.raises(FrameError) as refused:
        got.extend(each for piece in pieces for each in reader.read(piece))
    assert refused.value.code == code
    assert [each for each in got if each is not None] == ["before"]


def test_a_message_that_is_too_long_is_refused_by_its_head(reader: FrameReader) -> None:
    """Nothing of it is waited for, nor kept."""
    with pytest.raises(FrameError) as refused:
        read(reader, masked(BINARY, b"x" * (MAX_MESSAGE + 1))[:8])
    assert refused.value.code == TOO_BIG


def test_fragments_may_be_as_long_as_a_message_together(reader: FrameReader) -> None:
    """Not a byte less."""
    half = b"x" * (MAX_MESSAGE // 2)
    assert read(reader, masked(BINARY, half, fin=False) + masked(CONTINUATION, half)) == [half + half]


def test_while_messages_are_discarded_control_frames_are_not(reader: FrameReader) -> None:
    """The client's close is waited for then."""
    reader.discarding = True
    sent = masked(TEXT, b"late") + masked(TEXT, b"\xff") + masked(CLOSE, b"")
    assert list(reader.read(sent)) == [None, None, ControlFrame(CLOSE, b"")]


def test_discarding_begins_with_the_next_frame(reader: FrameReader) -> None:
    """Though that has come already."""
    got = []
    for each in reader.read(masked(TEXT, b"last") + masked(TEXT, b"late")):
        got.append(each)
        reader.discarding = True
    assert got == ["last", None]


def test_what_follows_is_forgotten_when_the_reading_is_given_up(reader: FrameReader) -> None:
    """The next bytes are read as a beginning."""
    for _ in reader.read(masked(TEXT, b"first") + masked(TEXT, b"second")[:5]):
        break
    assert read(reader, masked(TEXT, b"third")) == ["third"]


def test_nothing_is_kept_once_it_is_cleared(reader: FrameReader) -> None:
    """Neither of a message nor of a frame."""
    assert read(reader, masked(TEXT, b"a", fin=False) + masked(CONTINUATION, b"b")[:3]) == []
    reader.clear()
    assert read(reader, masked(TEXT, b"new")) == ["new"]
