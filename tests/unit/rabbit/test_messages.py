"""A batch becomes as few AMQP messages as can be, and none too few."""

from shared.bus import Routed
from shared.bus.rabbit.cloudevents import BATCH, JSON, decode
from shared.bus.rabbit.messages import Outgoing, plan
from shared.events import MESSAGE_CREATED, REPLY_CANCEL_REQUESTED, REPLY_CHUNK, REPLY_FINISHED, Event


def message(body: bytes = b"{}") -> Event:
    return Event(MESSAGE_CREATED, body)


def to(event: Event, *gateways: str) -> Routed:
    return Routed(event, frozenset(gateways))


def events_of(outgoing: Outgoing) -> list[Event]:
    return decode(outgoing.content_type, outgoing.headers, outgoing.body)


def bcc(outgoing: Outgoing) -> list[str]:
    return list((outgoing.headers or {}).get("BCC", []))


def test_a_lone_event_is_one_message_for_all_its_gateways() -> None:
    """Under its type, the gateways in BCC."""
    [only] = plan([to(message(), "b", "a")])
    assert (only.routing_key, only.content_type, bcc(only)) == (
        MESSAGE_CREATED,
        JSON,
        ["gateway.a", "gateway.b"],
    )
    assert only.persistent
    assert not only.mandatory


def test_a_lone_event_for_everyone_names_no_gateway() -> None:
    """One key for all."""
    [only] = plan([Routed(message(), None)])
    assert bcc(only) == ["gateway.all"]


def test_an_ephemeral_event_that_nobody_holds_is_not_published() -> None:
    """Nobody waits for it; a lasting one may have an integrator."""
    assert plan([to(Event(REPLY_CHUNK, b"{}"))]) == []
    [lasting] = plan([to(message())])
    assert bcc(lasting) == []


def test_an_ephemeral_event_is_not_persistent() -> None:
    """Its loss does no lasting harm."""
    [only] = plan([to(Event(REPLY_CHUNK, b"{}"), "a")])
    assert not only.persistent


def test_gateways_that_get_the_same_share_one_message() -> None:
    """And another set gets its own, each in order."""
    events = [message() for _ in range(4)]
    messages = plan(
        [to(events[0], "a", "b"), to(events[1], "c"), to(events[2], "a", "b", "c"), to(events[3])]
    )
    assert [({one.routing_key, *bcc(one)}, events_of(one)) for one in messages] == [
        ({"gateway.a", "gateway.b"}, [events[0], events[2]]),
        ({"gateway.c"}, [events[1], events[2]]),
    ]


def test_one_event_for_everyone_takes_its_batch_along() -> None:
    """Order across gateways' sets is kept by one message for all."""
    events = [message() for _ in range(3)]
    [only] = plan([to(events[0], "a"), Routed(events[1], None), to(events[2])])
    assert only.routing_key == "gateway.all"
    assert events_of(only) == events[:2]


def test_work_is_a_message_of_its_own_and_must_arrive() -> None:
    """Its gateways do not stand in for its queue."""
    job, other = Event(REPLY_FINISHED, b"{}"), message()
    first, second = plan([to(job, "a"), to(other)])
    assert (first.routing_key, first.mandatory, bcc(first)) == (REPLY_FINISHED, True, [])
    assert (second.routing_key, second.mandatory, events_of(second)) == ("gateway.a", False, [job])


def test_work_beside_a_lone_event_leaves_it_alone() -> None:
    """One event for gateways is a lone event, whatever else is published with it."""
    work, lone = plan([to(Event(REPLY_FINISHED, b"{}")), to(message(), "a")])
    assert work.mandatory
    assert (lone.routing_key, bcc(lone)) == (MESSAGE_CREATED, ["gateway.a"])


def test_a_big_batch_goes_in_several_messages() -> None:
    """Brokers bound a message; the order stays."""
    events = [message(b"x" * 400_000) for _ in range(5)]
    messages = plan([to(event, "a", "b") for event in events])
    assert [len(events_of(one)) for one in messages] == [2, 2, 1]
    assert [event for one in messages for event in events_of(one)] == events


def test_attributes_too_long_for_headers_travel_in_the_body() -> None:
    """A batch of one, under the event's type."""
    event = Event(MESSAGE_CREATED, b"{}", users=tuple(f"{number:036}" for number in range(5000)))
    [only] = plan([to(event, "a")])
    assert (only.routing_key, only.content_type, bcc(only)) == (MESSAGE_CREATED, BATCH, ["gateway.a"])
    assert events_of(only) == [event]


def test_what_is_followed_is_a_message_of_its_own_that_nobody_need_take() -> None:
    """Under its type, in a batch too; a cancel may come when no worker runs."""
    followed, beside = Event(REPLY_CANCEL_REQUESTED, b"{}"), message()
    for batch in ([to(followed)], [to(beside, "a"), to(followed)]):
        [own] = [one for one in plan(batch) if one.routing_key == REPLY_CANCEL_REQUESTED]
        assert (own.content_type, own.persistent, own.mandatory) == (JSON, True, False)
        assert len(plan(batch)) == len(batch)
