"""The faults that the long run chooses from, how long each is kept up, and how much rest follows."""

from dataclasses import dataclass
from typing import Final

from support.stack import Kind

from chaos.cluster import Target
from chaos.faults import (
    Inflict,
    freeze_server,
    freeze_service,
    kill_all,
    kill_follower,
    kill_leader,
    kill_server,
    kill_service,
    kill_writer,
    link,
    postgres,
    rabbitmq,
    redis,
    restart_server,
    restart_service,
    together,
)


@dataclass(frozen=True, slots=True)
class Fault:
    """One kind of failure.

    Attributes:
        kind: what it is called in figures.
        lasts: seconds between which it is kept up.
        rests: seconds that are given to recover before the next.
    """

    kind: str
    inflict: Inflict
    lasts: tuple[float, float]
    rests: tuple[float, float] = (0.8, 1.6)


_LINKS: Final[tuple[tuple[Kind, Target], ...]] = (
    ("gateway", "bus"),
    ("gateway", "api"),
    ("gateway", "redis"),
    ("api", "db"),
    ("api", "bus"),
    ("api", "redis"),
    ("worker", "bus"),
    ("worker", "redis"),
)

SINGLE: Final = (
    Fault("gateway killed", kill_service("gateway"), (0, 1)),
    Fault("relay leader killed", kill_leader, (0, 1)),
    Fault("other API killed", kill_follower, (0, 1)),
    Fault("worker killed in a reply", kill_writer, (0, 1)),
    Fault("gateway restarted", restart_service("gateway"), (0, 0)),
    Fault("relay leader restarted", restart_service("api"), (0, 0)),
    Fault("worker restarted", restart_service("worker"), (0, 0)),
    Fault("gateway frozen", freeze_service("gateway"), (2, 5)),
    Fault("relay leader frozen", freeze_service("api"), (2, 5)),
    Fault("worker frozen", freeze_service("worker"), (2, 5)),
    Fault("RabbitMQ killed", kill_server(rabbitmq), (0, 1), (4, 7)),
    Fault("RabbitMQ restarted", restart_server(rabbitmq), (0, 1), (4, 7)),
    Fault("RabbitMQ frozen", freeze_server(rabbitmq), (2, 8), (1, 3)),
    Fault("PostgreSQL killed", kill_server(postgres), (0, 4)),
    Fault("PostgreSQL frozen", freeze_server(postgres), (2, 6)),
    Fault("Redis killed", kill_server(redis), (0, 4)),
    Fault("Redis frozen", freeze_server(redis), (2, 6)),
    *(
        Fault(f"link {kind}-{target} {word}", link(kind, target, how), lasts)
        for kind, target in _LINKS
        for how, word, lasts in (
            ("cut", "cut", (0.0, 3.0)),
            ("freeze", "frozen", (2.0, 6.0)),
            ("slow", "slow", (1.0, 3.0)),
        )
    ),
)
"""One thing fails."""

SEVERAL: Final = (
    Fault(
        "gateway killed, Redis away", together(kill_server(redis), kill_service("gateway")), (1, 4), (2, 4)
    ),
    Fault("worker killed, RabbitMQ away", together(kill_writer, kill_server(rabbitmq)), (0, 4), (4, 7)),
    Fault(
        "relay leader killed, RabbitMQ frozen", together(kill_leader, freeze_server(rabbitmq)), (2, 6), (2, 4)
    ),
    Fault(
        "two links frozen: gateway-bus, api-db",
        together(link("gateway", "bus", "freeze"), link("api", "db", "freeze")),
        (2, 6),
    ),
    Fault(
        "two links frozen: api-bus, worker-bus",
        together(link("api", "bus", "freeze"), link("worker", "bus", "freeze")),
        (2, 6),
    ),
    Fault(
        "two links cut: gateway-redis, gateway-api",
        together(link("gateway", "redis", "cut"), link("gateway", "api", "cut")),
        (1, 4),
    ),
    Fault("both gateways killed", kill_all("gateway"), (0, 1), (2, 4)),
    Fault("both APIs killed", kill_all("api"), (0, 1), (2, 4)),
    Fault("both workers killed", kill_all("worker"), (0, 1), (2, 4)),
    Fault(
        "all servers killed",
        together(kill_server(redis), kill_server(postgres), kill_server(rabbitmq)),
        (0, 2),
        (5, 8),
    ),
)
"""Several things fail at once."""

FAULTS: Final = (*SINGLE, *SEVERAL)
LONG_AWAY: Final = Fault("RabbitMQ away for a minute", kill_server(rabbitmq), (60, 60), (10, 10))

_FROZEN_LINKS: Final[tuple[tuple[Kind, Target, tuple[float, float]], ...]] = (
    ("gateway", "bus", (35.0, 80.0)),
    ("gateway", "api", (30.0, 40.0)),
    ("gateway", "redis", (30.0, 70.0)),
    ("api", "db", (30.0, 40.0)),
    ("api", "bus", (35.0, 60.0)),
    ("worker", "bus", (35.0, 60.0)),
)

FREEZES: Final = (
    Fault("gateway frozen for long", freeze_service("gateway"), (40, 80), (8, 12)),
    Fault("relay leader frozen for long", freeze_service("api"), (30, 45), (8, 12)),
    Fault("worker frozen for long", freeze_service("worker"), (40, 60), (8, 12)),
    Fault("PostgreSQL frozen for long", freeze_server(postgres), (30, 40), (8, 12)),
    Fault("RabbitMQ frozen for long", freeze_server(rabbitmq), (35, 60), (8, 12)),
    Fault("Redis frozen for long", freeze_server(redis), (30, 70), (8, 12)),
    *(
        Fault(f"link {kind}-{target} frozen for long", link(kind, target, "freeze"), lasts, (8, 12))
        for kind, target, lasts in _FROZEN_LINKS
    ),
)
"""Longer than heartbeats last, and some of them longer than a gateway's queue."""
