"""A message to publish as the bytes of its frames: AMQP 0-9-1, sections 1.8.3.7, 2.3.5.2 and 4.2.5."""

from collections.abc import Mapping
from functools import lru_cache
from struct import Struct
from typing import Any, Final

from pamqp import encode

from shared.bus.rabbit.frame_tap import BODY, FRAME, FRAME_END, HEADER, METHOD
from shared.bus.rabbit.messages import Outgoing

_PUBLISH: Final = (60).to_bytes(2) + (40).to_bytes(2) + bytes(2)
_CONTENT: Final = Struct(">HHQH")
_BASIC: Final = 60
_CONTENT_TYPE: Final = 0x8000
_HEADERS: Final = 0x2000
_DELIVERY_MODE: Final = 0x1000
_MESSAGE_ID: Final = 0x0080
_TRANSIENT: Final = b"\x01"
_PERSISTENT: Final = b"\x02"
_LONG: Final = Struct(">I")
_INTEGER: Final = Struct(">cq")
_BIGGEST: Final = 2**63
_FRAME_EXTRA: Final = FRAME.size + len(FRAME_END)


def frames_of(message: Outgoing, *, channel: int, frame_max: int, message_id: str = "") -> bytes:
    """The frames that publish `message` on a channel, none of them of more than `frame_max` bytes.

    `message_id` tells a message from others, if the broker gives it back.
    """
    method = _method(message.exchange, message.routing_key, message.mandatory)
    header = _header(message, message_id)
    parts = [_framed(METHOD, channel, method), _framed(HEADER, channel, header)]
    body, most = message.body, frame_max - _FRAME_EXTRA
    parts += [_framed(BODY, channel, body[at : at + most]) for at in range(0, len(body), most)]
    return b"".join(parts)


def _framed(kind: int, channel: int, payload: bytes) -> bytes:
    return FRAME.pack(kind, channel, len(payload)) + payload + FRAME_END


@lru_cache(maxsize=1024)
def _method(exchange: str, routing_key: str, mandatory: bool) -> bytes:  # noqa: FBT001  # the cache's key
    return _PUBLISH + _short_string(exchange) + _short_string(routing_key) + bytes([mandatory])


def _header(message: Outgoing, message_id: str) -> bytes:
    """The payload of the content header: properties stand in the order of their flags."""
    flags = _CONTENT_TYPE | _DELIVERY_MODE
    properties = [_short_string(message.content_type)]
    if message.headers:
        flags |= _HEADERS
        properties.append(_table(message.headers))
    properties.append(_PERSISTENT if message.persistent else _TRANSIENT)
    if message_id:
        flags |= _MESSAGE_ID
        properties.append(_short_string(message_id))
    return _CONTENT.pack(_BASIC, 0, len(message.body), flags) + b"".join(properties)


def _table(headers: Mapping[str, Any]) -> bytes:
    return _long(b"".join([_short_string(name) + _value(value) for name, value in headers.items()]))


def _value(value: Any) -> bytes:
    """One value with its type: those of events are written here, the rest by pamqp."""
    if isinstance(value, str):
        return b"S" + _long(value.encode())
    if isinstance(value, bool):
        return b"t\x01" if value else b"t\x00"
    if isinstance(value, int) and -_BIGGEST <= value < _BIGGEST:
        return _INTEGER.pack(b"l", value)
    if isinstance(value, list):
        return b"A" + _long(b"".join(map(_value, value)))
    return encode.encode_table_value(value)


def _long(text: bytes) -> bytes:
    return _LONG.pack(len(text)) + text


@lru_cache(maxsize=1024)
def _short_string(text: str) -> bytes:
    """The text with its length, which is one octet.

    Raises:
        ValueError: it has more than 255 bytes.
    """
    encoded = text.encode()
    if len(encoded) > 255:
        raise ValueError(f"{text!r} has more than 255 bytes")
    return bytes([len(encoded)]) + encoded
