"""Events as AMQP messages: what goes in comes out, and what is no event is refused."""

from contextlib import suppress

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.bus.rabbit.cloudevents import BATCH, JSON, decode, decode_one, fits_headers, headers_of, record_of
from shared.events import MESSAGE_CREATED, Event, UndecodableEventError

TEXT = st.text(st.characters(codec="utf-8"), max_size=40)
EVENTS = st.builds(
    Event,
    type=st.sampled_from([MESSAGE_CREATED, "typing"]),
    body=st.binary(max_size=300),
    subject=TEXT,
    name=TEXT,
    rooms=st.lists(TEXT, max_size=3).map(tuple),
    seq=st.none() | st.integers(0, 2**53),
    users=st.lists(TEXT, max_size=3).map(tuple),
    everywhere=st.booleans(),
    request_id=TEXT,
    traceparent=TEXT,
)


@given(st.lists(EVENTS, min_size=1, max_size=5))
def test_a_batch_holds_its_events_in_order(events: list[Event]) -> None:
    """They are the same, whatever their attributes and bodies."""
    assert decode(BATCH, None, b"".join(map(record_of, events))) == events


@given(EVENTS)
def test_a_single_event_is_its_headers_and_its_body(event: Event) -> None:
    """Binary mode: the body is untouched."""
    assert decode(JSON, headers_of(event), event.body) == [event]


@given(st.binary(max_size=200))
def test_any_bytes_are_a_batch_or_refused(frame: bytes) -> None:
    """No other error, no partial answer."""
    with suppress(UndecodableEventError):
        assert decode(BATCH, None, frame)


def test_every_truncation_of_a_batch_is_refused() -> None:
    """A batch is whole, or it is none."""
    frame = record_of(Event(MESSAGE_CREATED, b"{}")) + record_of(Event(MESSAGE_CREATED, b"{}"))
    whole = [length for length in range(len(frame)) if _decodes(frame[:length])]
    assert whole == [len(record_of(Event(MESSAGE_CREATED, b"{}")))]


def _decodes(frame: bytes) -> bool:
    try:
        return bool(decode(BATCH, None, frame))
    except UndecodableEventError:
        return False


def test_the_other_prefix_of_the_binding_is_read() -> None:
    """CloudEvents allows `cloudEvents:` too."""
    event = Event(MESSAGE_CREATED, b"{}")
    headers = {name.replace("_", ":", 1): value for name, value in headers_of(event).items()}
    assert decode_one("application/json; charset=utf-8", headers, b"{}") == event


@pytest.mark.parametrize(
    ("headers", "reason"),
    [
        (None, "specversion"),
        ({}, "specversion"),
        ({"cloudEvents_specversion": "2.0"}, "not 1.x"),
        ({"cloudEvents_specversion": "1.0", "cloudEvents_id": "1", "cloudEvents_source": "/"}, "type"),
        ({**headers_of(Event("typing", b"")), "cloudEvents_rooms": "chat:1"}, "rooms"),
        ({**headers_of(Event("typing", b"")), "cloudEvents_users": {"u": 1}}, "users"),
        ({**headers_of(Event("typing", b"")), "cloudEvents_seq": "x"}, "does not fit"),
    ],
)
def test_headers_that_are_no_event_are_refused(headers: dict[str, object] | None, reason: str) -> None:
    """By the name of what is wrong."""
    with pytest.raises(UndecodableEventError, match=reason):
        decode(JSON, headers, b"{}")


def test_another_content_type_is_refused() -> None:
    """Structured mode and text are not spoken here."""
    with pytest.raises(UndecodableEventError, match="text/plain"):
        decode("text/plain", headers_of(Event("typing", b"")), b"{}")


def test_attributes_that_are_no_object_are_refused() -> None:
    """JSON alone is not enough."""
    attributes = orjson.dumps([1])
    frame = len(attributes).to_bytes(4, "big") + (0).to_bytes(4, "big") + attributes
    with pytest.raises(UndecodableEventError, match="object"):
        decode(BATCH, None, frame)


def test_several_events_where_one_is_expected_are_refused() -> None:
    """A work queue's message is one event."""
    frame = record_of(Event("typing", b"")) * 2
    with pytest.raises(UndecodableEventError, match="2 events"):
        decode_one(BATCH, None, frame)


def test_attributes_beyond_a_header_frame_are_known() -> None:
    """A chat of thousands travels in a body."""
    assert fits_headers(Event(MESSAGE_CREATED, b"", users=("u" * 36,) * 1000))
    assert not fits_headers(Event(MESSAGE_CREATED, b"", users=("u" * 36,) * 2000))
    assert not fits_headers(Event(MESSAGE_CREATED, b"", users=("u" * 255,) * 300))
