"""The promises of every bus about events: one set of tests over RabbitMQ and the bus within a process."""

from integration.bus.buses import Broker, Gateway, gateway, message, running, to

from shared.bus import Routed
from shared.events import (
    MESSAGE_CREATED,
    REPLY_CANCEL_REQUESTED,
    REPLY_CHUNK,
    Event,
)


async def test_an_event_reaches_the_named_gateways_and_no_other(broker: Broker) -> None:
    """Interest routing: what a gateway does not hold never reaches it."""
    bus = await broker.bus()
    async with gateway(bus, "a") as a, gateway(bus, "b") as b, gateway(bus, "c") as c:
        event = message(1)
        last = message(2)
        await bus.publish([to(event, "a", "b")])
        await bus.publish([to(last, "c")])
        await c.until(lambda it: len(it.events) == 1)
        await b.until(lambda it: len(it.events) == 1)
        await a.until(lambda it: len(it.events) == 1)
        assert a.events == b.events == [event]
        assert c.events == [last]


async def test_an_event_whose_holders_are_unknown_reaches_every_gateway(broker: Broker) -> None:
    """Slower, never wrong."""
    bus = await broker.bus()
    async with gateway(bus, "a") as a, gateway(bus, "b") as b:
        event = message(1)
        await bus.publish([Routed(event, None)])
        for one in (a, b):
            await one.until(lambda it: bool(it.events))
            assert one.events == [event]


async def test_followers_get_what_is_followed_each_all_of_it(broker: Broker) -> None:
    """The rest of the batch does not matter, gateways or not; nothing from before, and nothing else."""
    bus = await broker.bus()
    asked = [Event(REPLY_CANCEL_REQUESTED, b'{"number":%d}' % number) for number in range(4)]
    first, second = Gateway(), Gateway()
    await bus.publish([to(asked[0])])
    async with gateway(bus, "a") as a, running(bus.follow("one", first), bus.follow("two", second)):
        for follower in (first, second):
            await follower.until(lambda it: bool(it.links))
        await bus.publish([to(asked[1])])
        await bus.publish([to(message(1), "a"), to(asked[2]), to(message(2)), Routed(message(3), None)])
        await bus.publish([to(message(4), "a"), to(asked[3])])
        for follower in (first, second):
            await follower.until(lambda it: len(it.events) >= 3)
            assert follower.events == asked[1:]
        await a.until(lambda it: len(it.events) >= 3)
        assert {event.type for event in a.events} == {MESSAGE_CREATED}


async def test_all_attributes_and_the_body_arrive_as_they_were_sent(broker: Broker) -> None:
    """Alone or in a batch, an event is the same event."""
    bus = await broker.bus()
    event = Event(
        MESSAGE_CREATED,
        b'{"content":"gr\xc3\xbc\xc3\x9fe"}',
        source="/roomcast/test",
        subject="chat",
        name="new-msg",
        rooms=("chat:1", "user:ü"),
        seq=2**40,
        users=tuple(f"member-{number}" for number in range(5000)),
        everywhere=True,
        request_id="r",
        traceparent="00-1-2-03",
    )
    small = Event(REPLY_CHUNK, b"{}", name="ai-chunk", rooms=("chat:1",))
    async with gateway(bus, "a") as a:
        await bus.publish([to(event, "a")])
        await bus.publish([to(small, "a")])
        await bus.publish([to(Event(MESSAGE_CREATED, b"x" * 3_000_000), "a"), to(message(3), "a")])
        await a.until(lambda it: len(it.events) == 4)
        assert a.events[:2] == [event, small]
        assert [len(one.body) for one in a.events[2:]] == [3_000_000, len(message(3).body)]


async def test_events_arrive_in_the_order_of_publishing(broker: Broker) -> None:
    """Lone events and batches of one publisher do not overtake each other."""
    bus = await broker.bus()
    async with gateway(bus, "a") as a, gateway(bus, "b") as b:
        sent = [message(number) for number in range(300)]
        at = 0
        for size in (1, 5, 1, 40, 3, 1, 100, 149):
            await bus.publish(
                [to(event, "a", *(["b"] if event.seq in (2, 44) else [])) for event in sent[at : at + size]]
            )
            at += size
        await a.until(lambda it: len(it.events) == 300)
        await b.until(lambda it: len(it.events) == 2)
        assert a.events == sent
        assert b.events == [sent[2], sent[44]]


async def test_a_batch_that_holds_something_for_everyone_keeps_its_order(broker: Broker) -> None:
    """One for all gateways amid others comes in its place."""
    bus = await broker.bus()
    async with gateway(bus, "a") as a:
        sent = [message(number) for number in range(3)]
        await bus.publish([to(sent[0], "a"), Routed(sent[1], None), to(sent[2], "a")])
        await a.until(lambda it: len(it.events) == 3)
        assert a.events == sent


async def test_an_event_that_is_published_again_reaches_a_gateway_once(broker: Broker) -> None:
    """Alone or amid others; told by its id."""
    bus = await broker.bus()
    async with gateway(bus, "a") as a, gateway(bus, "b") as b:
        first, second = message(1), message(2)
        await bus.publish([to(first, "a")])
        await bus.publish([to(first, "a", "b"), to(second, "a", "b")])
        await bus.publish([to(second, "a")])
        await bus.publish([to(last := message(3), "a", "b")])
        for each in (a, b):
            await each.until(lambda it: last in it.events)
            assert each.events == [first, second, last]


async def test_what_one_batch_holds_for_a_gateway_arrives_together(broker: Broker) -> None:
    """One call of the listener, so that the gateway can write it at once."""
    bus = await broker.bus()
    async with gateway(bus, "a") as a:
        sent = [message(number) for number in range(20)]
        await bus.publish([to(event, "a") for event in sent])
        await a.until(lambda it: bool(it.events))
        assert a.calls == [sent]
