"""Made-up input for a gateway: frames, packets, requests, from nearly right to nonsense."""

import base64
import itertools
import struct
from dataclasses import dataclass
from typing import Final, Literal

import orjson
from hypothesis import strategies as st
from support.raw_socket import TEXT, frame

EVENTS: Final = ("join-user", "join-chat", "leave-chat", "typing", "heartbeat", "refresh-token", "send-msg")
MAX_PAYLOAD: Final = 65_536
DEEP: Final = 30_000
LENGTHS: Final = (0, 1, 125, 126, 127, 65_535, 65_536, 2**31, 2**63, 2**64 - 1)


Door = Literal["socket", "websocket", "tcp", "polling"]


@dataclass(frozen=True, slots=True)
class Input:
    """Bytes that are written one after the other, to what `door` says.

    Attributes:
        door: a WebSocket whose socket was let in; one right after its opening; a bare TCP connection; or the
            session of a connected polling client, of which they are the bodies.
    """

    door: Door
    pieces: tuple[bytes, ...]


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats()
    | st.text(max_size=20)
    | st.sampled_from(["__proto__", "_placeholder", "\ud800", "\0", "9" * 400, "x" * 3000]),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.text(max_size=10) | st.sampled_from(["chatId", "token"]), inner, max_size=4)
    ),
    max_leaves=10,
)


def _json(value: object) -> str:
    try:
        return orjson.dumps(value).decode()
    except (TypeError, ValueError):
        return '{"token":"\\ud800"}'


@st.composite
def _packets(draw: st.DrawFn) -> str:
    """A Socket.IO packet: each part right, wrong or missing."""
    kind = draw(st.sampled_from("0123456789xé ") | st.just("2"))
    attachments = draw(st.sampled_from(["", "", "", "0-", "1-", "-1-", "99999999999-", "-"]))
    namespace = draw(st.sampled_from(["", "", "", "/,", "/admin,", "/" + "a" * 200 + ",", "/no-comma"]))
    number = draw(st.sampled_from(["", "1", "0", "007", "²", "9" * 99, "9" * 101, "-1"]))
    event = draw(st.sampled_from(EVENTS) | st.text(max_size=8))
    arguments = draw(st.lists(json_values, max_size=3))
    data = draw(
        st.sampled_from(["", "[]", "{}", "nonsense", "[" * DEEP, '["heartbeat"', '{"a":' * 2000])
        | st.just(_json([event, *arguments]))
        | json_values.map(_json)
        | st.text(max_size=50)
    )
    return f"4{kind}{attachments}{namespace}{number}{data}"


_events: Final = st.tuples(
    st.sampled_from(["", "1", "99"]), st.sampled_from(EVENTS), st.lists(json_values, max_size=2)
).map(lambda what: f"42{what[0]}{_json([what[1], *what[2]])}")
"""An event as it should be, but for what it carries."""

engine_packets = st.one_of(
    _events,
    _events,
    _packets(),
    _packets(),
    st.text(max_size=40),
    st.sampled_from(
        ["", "0", "1", "2", "3", "5", "6", "7", "2probe", "b4abc", "4", "40", "41", "40{}", "43"]
    ),
)

_attached: Final = st.tuples(
    st.integers(0, 12),
    st.sampled_from(EVENTS),
    st.lists(st.binary(max_size=50) | st.text(max_size=20), max_size=4),
    st.integers(-1, 12),
)


def _binary_event(parts: tuple[int, str, list[bytes | str], int]) -> tuple[bytes, ...]:
    """An event with attachments, as many as it says or not."""
    count, event, attachments, placeholder = parts
    data = _json([event, {"_placeholder": True, "num": placeholder}])
    follow = (
        frame(one, 2) if isinstance(one, bytes) else frame(one.encode("utf-8", "replace"))
        for one in attachments
    )
    return (frame(f"45{count}-1{data}".encode()), *follow)


@st.composite
def _raw_frames(draw: st.DrawFn) -> bytes:
    """A frame whose head need not fit: bits, opcode, mask, and a length that may be another one."""
    first = draw(st.integers(0, 255) | st.sampled_from([0x81, 0x82, 0x01, 0x80, 0x88, 0x89, 0x8A]))
    payload = draw(st.binary(max_size=200) | st.just(b"x" * 300) | st.just(b"4" * (MAX_PAYLOAD + 1)))
    said = draw(
        st.just(len(payload)) | st.sampled_from([0, 1, 125, 126, 127, 65535, 65536, 2**31, 2**63, 2**64 - 1])
    )
    form = draw(st.sampled_from([0, 1, 2]))
    mask = draw(st.sampled_from([0x80, 0x80, 0x80, 0]))
    match form:
        case 0:
            head = bytes([first, mask | min(said, 127)])
        case 1:
            head = bytes([first, mask | 126]) + struct.pack("!H", min(said, 65535))
        case _:
            head = bytes([first, mask | 127]) + struct.pack("!Q", said)
    return head + (draw(st.binary(min_size=4, max_size=4)) if mask else b"") + payload


@st.composite
def _fragments(draw: st.DrawFn) -> tuple[bytes, ...]:
    """A message in pieces, with control frames in between, and perhaps without its end."""
    text = draw(engine_packets).encode("utf-8", "replace")
    cuts = sorted(draw(st.lists(st.integers(0, len(text)), max_size=5)))
    edges = [0, *cuts, len(text)]
    parts: list[bytes] = []
    for number, (start, end) in enumerate(itertools.pairwise(edges)):
        last = number == len(edges) - 2
        opcode = TEXT if number == 0 else 0
        whole = bytearray(frame(text[start:end], opcode))
        whole[0] = opcode | (0x80 if last and draw(st.booleans() | st.just(True)) else 0)
        parts.append(bytes(whole))
        if draw(st.booleans()):
            parts.append(frame(draw(st.binary(max_size=125)), draw(st.sampled_from([0x9, 0xA]))))
    return tuple(parts)


_floods: Final = st.tuples(
    st.sampled_from(["3", "2", "6", "41", "43", '42["heartbeat"]', '421["x"]', '42/admin,["x"]', "430[]"]),
    st.integers(100, 1000),
).map(lambda what: (frame(what[0].encode()) * what[1],))

_split: Final = st.tuples(engine_packets, st.integers(0, 10)).map(
    lambda what: _halves(frame(what[0].encode("utf-8", "replace")), what[1])
)


def _halves(data: bytes, at: int) -> tuple[bytes, ...]:
    return (data[:at], data[at:])


_websocket: Final = st.one_of(
    engine_packets.map(lambda text: (frame(text.encode("utf-8", "replace")),)),
    st.binary(max_size=60).map(lambda data: (frame(data, 2),)),
    st.binary(max_size=60).map(lambda data: (frame(data),)),
    _attached.map(_binary_event),
    st.lists(_raw_frames(), min_size=1, max_size=3).map(tuple),
    _fragments(),
    _split,
)

_bodies: Final = st.lists(
    engine_packets.map(lambda text: text.encode("utf-8", "replace"))
    | st.binary(max_size=30)
    | st.binary(max_size=30).map(lambda data: b"b" + base64.b64encode(data)),
    max_size=20,
).map(b"\x1e".join)

_queries: Final = st.sampled_from(
    [
        "EIO=4&transport=polling",
        "EIO=4&transport=websocket",
        "EIO=3&transport=polling",
        "EIO=4&transport=polling&sid=nobody",
        "EIO=4&transport=polling&sid=",
        "EIO=4&EIO=4&transport=polling&transport=x",
        "transport=%00&EIO=%ff",
        "EIO=4&transport=polling&j=0",
        "",
        "&&&===",
        "x" * 9000,
    ]
) | st.text(st.characters(codec="ascii", exclude_characters=" \r\n\0"), max_size=30)


@st.composite
def _requests(draw: st.DrawFn) -> tuple[bytes, ...]:
    """An HTTP request: method, path, headers and body from right to wrong."""
    method = draw(st.sampled_from(["GET", "POST", "OPTIONS", "PUT", "HEAD", "DELETE", "BREW", "", "GE\tT"]))
    path = draw(st.sampled_from(["/socket.io/", "/socket.io", "/", "//", "/socket.io/../x", "*", "/metrics"]))
    body = draw(_bodies)
    size = draw(st.just(len(body)) | st.sampled_from([0, 1, 10**9, 10**30, -1]))
    headers = draw(
        st.lists(
            st.sampled_from(
                [
                    "Upgrade: websocket",
                    "Connection: Upgrade",
                    "Sec-WebSocket-Version: 13",
                    "Sec-WebSocket-Version: 99",
                    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
                    "Sec-WebSocket-Key: short",
                    "Transfer-Encoding: chunked",
                    "Expect: 100-continue",
                    "Origin: null",
                    "Origin: https://evil.example",
                    "Content-Encoding: gzip",
                    "X-Forwarded-For: 1.2.3.4, rubbish",
                    "Cookie: " + "x" * 9000,
                    "No colon",
                    ": no name",
                ]
            ),
            max_size=6,
        )
    )
    version = draw(st.sampled_from(["HTTP/1.1", "HTTP/1.1", "HTTP/1.0", "HTTP/2.0", "HTTP/9", ""]))
    head = "\r\n".join(
        [f"{method} {path}?{draw(_queries)} {version}", "Host: x", f"Content-Length: {size}", *headers]
    )
    return (head.encode("utf-8", "replace") + b"\r\n\r\n", body)


inputs: Final = st.one_of(
    _websocket.map(lambda pieces: Input("socket", pieces)),
    _websocket.map(lambda pieces: Input("socket", pieces)),
    _websocket.map(lambda pieces: Input("websocket", pieces)),
    _requests().map(lambda pieces: Input("tcp", pieces)),
    st.binary(max_size=100).map(lambda data: Input("tcp", (data,))),
    st.lists(_bodies, min_size=1, max_size=2).map(lambda bodies: Input("polling", tuple(bodies))),
)
floods: Final = _floods.map(lambda pieces: Input("socket", pieces))
