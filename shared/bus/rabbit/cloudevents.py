"""Events as AMQP messages: CloudEvents 1.0 in binary mode, and several of them in one message.

A single event is CloudEvents' AMQP binding in binary mode: each attribute is a header `cloudEvents_<name>`,
and the body is the event's data. A batch is a message of the content type `application/vnd.roomcast.events`
whose body is, for each event in order, two big-endian 32-bit lengths, the attributes as a JSON object, and
the data.
"""

from collections.abc import Callable, Mapping
from struct import Struct
from typing import Any, Final

import orjson

from shared.events import Event, UndecodableEventError, event_from

JSON: Final = "application/json"
BATCH: Final = "application/vnd.roomcast.events"

_PREFIX: Final = "cloudEvents_"
CLOUD_EVENTS_PREFIXES: Final = (_PREFIX, "cloudEvents:")
"""Of the header names that hold attributes; the second is the binding's other form, read but not written."""
_LENGTHS: Final = Struct(">II")
_HEADER_LIMIT: Final = 64 * 1024
"""Bytes of attributes, as JSON, that surely fit one AMQP header frame (131,072 bytes) with a `BCC` beside."""
_LISTS: Final = ("rooms", "users")


def headers_of(event: Event) -> dict[str, Any]:
    """Returns the AMQP headers of a single event."""
    return {_PREFIX + name: value for name, value in event.attributes().items()}


def fits_headers(event: Event) -> bool:
    """Returns whether its attributes fit one AMQP header frame; else it travels as a batch of one."""
    if len(event.users) + len(event.rooms) < 100:  # each at most 255 characters
        return True
    return len(orjson.dumps(event.attributes())) <= _HEADER_LIMIT


def record_of(event: Event) -> bytes:
    """Returns one event as it stands in a batch; a batch is records joined."""
    attributes = orjson.dumps(event.attributes())
    return _LENGTHS.pack(len(attributes), len(event.body)) + attributes + event.body


def decode(
    content_type: str | None,
    headers: Mapping[str, Any] | None,
    body: bytes,
    *,
    pass_over: Callable[[UndecodableEventError], None] | None = None,
) -> list[Event]:
    """Returns the events of one message, in order; at least one, unless `pass_over` took some.

    `pass_over` takes the refusal of an event among others, which are given out without it: one that a newer
    version wrote does not take those beside it along.

    Raises:
        UndecodableEventError: it is not of the form above.
    """
    if content_type == BATCH:
        return _events_of(body, pass_over)
    if content_type is not None and not content_type.startswith(JSON):
        raise UndecodableEventError(f"the content type {content_type!r} is not one of an event")
    return [_event(_attributes_of(headers or {}), body)]


def decode_one(content_type: str | None, headers: Mapping[str, Any] | None, body: bytes) -> Event:
    """Returns the one event of a message.

    Raises:
        UndecodableEventError: it is not of the form above, or holds several.
    """
    events = decode(content_type, headers, body)
    if len(events) != 1:
        raise UndecodableEventError(f"{len(events)} events where one is expected")
    return events[0]


def _attributes_of(headers: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name[len(_PREFIX) :]: value
        for name, value in headers.items()
        if name.startswith(CLOUD_EVENTS_PREFIXES)
    }


def _events_of(frame: bytes, pass_over: Callable[[UndecodableEventError], None] | None) -> list[Event]:
    events = []
    at = 0
    while at < len(frame):
        if len(frame) - at < _LENGTHS.size:
            raise UndecodableEventError(f"the batch breaks off at byte {at}")
        attributes_length, body_length = _LENGTHS.unpack_from(frame, at)
        body_at = at + _LENGTHS.size + attributes_length
        end = body_at + body_length
        if end > len(frame):
            raise UndecodableEventError(f"the batch breaks off in the event at byte {at}")
        try:
            attributes = _json_object(frame[at + _LENGTHS.size : body_at])
            events.append(_event(attributes, frame[body_at:end]))
        except UndecodableEventError as refusal:
            if pass_over is None:
                raise
            pass_over(refusal)
        at = end
    if not frame:
        raise UndecodableEventError("the batch is empty")
    return events


def _json_object(text: bytes) -> dict[str, Any]:
    try:
        attributes = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise UndecodableEventError(f"the attributes are not JSON: {error}") from None
    if not isinstance(attributes, dict):
        raise UndecodableEventError("the attributes are not a JSON object")
    return attributes


def _event(attributes: dict[str, Any], body: bytes) -> Event:
    for name in _LISTS:
        if not isinstance(attributes.get(name, []), list):
            raise UndecodableEventError(f"the attribute {name!r} is not a list")
    return event_from(attributes, body)
