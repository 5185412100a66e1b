"""Metrics of the bus, the same for every way it travels."""

from typing import Final

from prometheus_client import Counter, Histogram

PUBLISHED: Final = Counter("roomcast_bus_published_events", "Events that the bus took over.", ["type"])
MESSAGES: Final = Counter("roomcast_bus_published_messages", "AMQP messages that the broker confirmed.")
PUBLISH_FAILURES: Final = Counter("roomcast_bus_publish_failures", "Batches that were not confirmed.")
CONFIRM_SECONDS: Final = Histogram(
    "roomcast_bus_confirm_seconds",
    "Time from publishing a batch to its last confirm.",
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0),
)
CONSUMED: Final = Counter("roomcast_bus_consumed_events", "Events taken from the bus.", ["queue"])
REPEATED: Final = Counter("roomcast_bus_repeated_events", "Events passed over because they had been relayed.")
REDELIVERED: Final = Counter(
    "roomcast_bus_redelivered_jobs", "Jobs that were not their first try.", ["queue"]
)
UNDECODABLE: Final = Counter("roomcast_bus_undecodable_messages", "Messages refused at the door.", ["queue"])
DEAD_LETTERED: Final = Counter("roomcast_bus_dead_lettered_jobs", "Jobs given up.", ["queue"])
LINKS_LOST: Final = Counter("roomcast_bus_links_lost", "Links to the broker lost, or not had.", ["link"])
GAPS: Final = Counter(
    "roomcast_bus_gaps", "Links of a gateway or follower that came back with events possibly lost."
)

GATEWAY: Final = "gateway"
FOLLOWER: Final = "follower"
"""The `queue` labels of gateways' and followers' queues; the work queues have their own names."""
