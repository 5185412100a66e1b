"""The AMQP messages that a batch of routed events becomes.

- An event of a type that a work queue takes is a message of its own, under its type, so that `mandatory`
  says whether the work queue took it; its gateways, if any, get it in another message. The same goes for
  one of a type that is followed, but that nobody may follow at the time.
- One other event is one message under its type, with a `BCC` header (RabbitMQ's sender-selected
  distribution; the broker takes it off) that names the gateways.
- Several are one message for each set of gateways that gets the same of them, or, where one of them is for
  all gateways, one message for all: each gateway passes over what it has no room for.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

from shared.bus import Routed
from shared.bus.queues import OWN_MESSAGE, QUEUE_OF
from shared.bus.rabbit.cloudevents import BATCH, JSON, fits_headers, headers_of, record_of
from shared.bus.rabbit.topology import ALL_GATEWAYS, EVENTS, gateway_key
from shared.events import Event

_FRAME_LIMIT: Final = 1024 * 1024
"""Bytes past which a batch goes on in a further message; brokers bound a message (RabbitMQ 4: 16 MiB)."""


@dataclass(frozen=True, slots=True)
class Outgoing:
    """One AMQP message to publish.

    Attributes:
        mandatory: it has to reach a queue, or it is not published.
    """

    routing_key: str
    body: bytes
    exchange: str = EVENTS
    content_type: str = JSON
    headers: dict[str, Any] | None = None
    persistent: bool = True
    mandatory: bool = False


def plan(batch: Sequence[Routed]) -> list[Outgoing]:
    """Returns the messages that bring `batch` to its work queues and gateways, in the order of its events."""
    messages = [
        _alone(routed.event, (), mandatory=routed.event.type in QUEUE_OF)
        for routed in batch
        if routed.event.type in OWN_MESSAGE
    ]
    relayed = [routed for routed in batch if routed.gateways is None or routed.gateways]
    match relayed or batch:
        case [Routed(event, gateways)] if event.type not in OWN_MESSAGE:
            messages += _lone(event, gateways)
        case _ if any(routed.gateways is None for routed in relayed):
            messages += _together((ALL_GATEWAYS,), [routed.event for routed in relayed])
        case _:
            for keys, events in _shares(relayed):
                messages += _together(keys, events)
    return messages


def _lone(event: Event, gateways: frozenset[str] | None) -> Iterator[Outgoing]:
    if gateways is None:
        yield _alone(event, (ALL_GATEWAYS,))
    elif gateways or not event.ephemeral:
        # Published under its type even where no gateway needs it: an integrator's queue may.
        yield _alone(event, tuple(map(gateway_key, sorted(gateways))))


def _alone(event: Event, bcc: tuple[str, ...], *, mandatory: bool = False) -> Outgoing:
    fits = fits_headers(event)
    headers = headers_of(event) if fits else {}
    return Outgoing(
        routing_key=event.type,
        body=event.body if fits else record_of(event),
        content_type=JSON if fits else BATCH,
        headers=headers | {"BCC": list(bcc)} if bcc else headers,
        persistent=not event.ephemeral,
        mandatory=mandatory,
    )


def _shares(relayed: Iterable[Routed]) -> Iterator[tuple[tuple[str, ...], list[Event]]]:
    """Yields each set of gateways that gets the same events, as routing keys, with those events."""
    of_gateway: dict[str, list[Event]] = {}
    for routed in relayed:
        for gateway in sorted(routed.gateways or ()):
            of_gateway.setdefault(gateway, []).append(routed.event)
    alike: dict[tuple[int, ...], list[str]] = {}
    for gateway, events in of_gateway.items():
        alike.setdefault(tuple(map(id, events)), []).append(gateway)
    for gateways in alike.values():
        yield tuple(map(gateway_key, gateways)), of_gateway[gateways[0]]


def _together(keys: tuple[str, ...], events: Sequence[Event]) -> Iterator[Outgoing]:
    """Yields `events` for the queues of `keys`, in as few messages as the size allows."""
    headers = {"BCC": list(keys[1:])} if len(keys) > 1 else None
    for body in _bodies(events):
        # Not persistent: a gateway's queue does not outlive the broker.
        yield Outgoing(routing_key=keys[0], body=body, content_type=BATCH, headers=headers, persistent=False)


def _bodies(events: Iterable[Event]) -> Iterator[bytes]:
    records: list[bytes] = []
    size = 0
    for record in map(record_of, events):
        if records and size + len(record) > _FRAME_LIMIT:
            yield b"".join(records)
            records, size = [], 0
        records.append(record)
        size += len(record)
    if records:
        yield b"".join(records)
