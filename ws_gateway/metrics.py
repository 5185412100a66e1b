"""Metrics of the gateway."""

from typing import Final

from prometheus_client import Counter, Gauge

SOCKETS: Final = Gauge("roomcast_gateway_sockets", "Connected sockets.")
CONNECTIONS: Final = Gauge("roomcast_gateway_connections", "Open connections, with a socket or without.")
HTTP_CONNECTIONS: Final = Gauge(
    "roomcast_gateway_http_connections", "TCP connections that are no WebSockets, not yet or never."
)
ROOMS: Final = Gauge("roomcast_gateway_rooms", "Rooms with at least one socket here.")
DELIVERIES: Final = Counter("roomcast_gateway_deliveries", "Frames handed to sockets.")
EVENTS: Final = Counter("roomcast_gateway_events", "Events from the bus.", ["type"])
EVENTS_IGNORED: Final = Counter(
    "roomcast_gateway_events_ignored", "Events from the bus for rooms that nobody here is in.", ["type"]
)
JOINS: Final = Counter(
    "roomcast_gateway_joins", "Asked join-chats by outcome: ok or the error's code.", ["outcome"]
)
REFUSED: Final = Counter("roomcast_gateway_refused_handshakes", "Refused handshakes.", ["code"])
LIMITED: Final = Counter(
    "roomcast_gateway_limited",
    "What was refused, and connections that were closed, for a limit, by the limit's code.",
    ["code"],
)
FLOODING: Final = "flooding"
HANDSHAKE_TIMEOUT: Final = "handshake_timeout"
PAYLOAD_TOO_LARGE: Final = "payload_too_large"
RESYNCS: Final = Counter("roomcast_gateway_resyncs", "Sockets told that they may have missed something.")
EVICTIONS: Final = Counter("roomcast_gateway_evictions", "Sockets put out of a chat.")
SLOW_CONSUMERS: Final = Counter(
    "roomcast_gateway_slow_consumers", "Connections closed because their clients did not take what came."
)
API_ANSWERS: Final = Counter("roomcast_gateway_api_answers", "Answers of the API by outcome.", ["outcome"])
ANNOUNCEMENTS_DROPPED: Final = Counter(
    "roomcast_gateway_announcements_dropped", "Typing and presence events that could not be published."
)
DIRECT: Final = Gauge(
    "roomcast_gateway_direct_path", "1 while WebSockets are served straight on their connections, else 0."
)
