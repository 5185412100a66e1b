"""Settings of the gateway: those that all services share, and its limits."""

from typing import Any

from pydantic import Field

from shared.config.settings import Settings, WholeNumber


def _number(default: int, low: int, high: int, what: str = "a whole number") -> Any:
    return Field(default, ge=low, le=high, description=f"{what}, {low} to {high}")


class GatewaySettings(Settings):
    """The gateway's settings beside those that all services share; `Limits` tells what each bounds."""

    gateway_max_payload: WholeNumber = _number(65_536, 1024, 1_048_576, "a number of bytes")
    gateway_max_rooms: WholeNumber = _number(200, 1, 10_000)
    gateway_events_per_second: WholeNumber = _number(100, 1, 10_000)
    gateway_events_burst: WholeNumber = _number(250, 1, 100_000)
    gateway_max_waiting: WholeNumber = _number(1_048_576, 65_536, 67_108_864, "a number of bytes")
    gateway_sockets_per_user: WholeNumber = _number(250, 1, 1_000_000)
    gateway_max_sockets: WholeNumber = _number(50_000, 1, 1_000_000)
    gateway_http_connections: WholeNumber = _number(10_000, 1, 1_000_000)
    gateway_http_connections_per_address: WholeNumber = _number(1000, 1, 1_000_000)
    gateway_handshakes_per_second: WholeNumber = _number(500, 1, 100_000)
    gateway_handshakes_per_address: WholeNumber = _number(250, 1, 100_000)
    gateway_handshake_seconds: WholeNumber = _number(10, 1, 60, "a number of seconds")
