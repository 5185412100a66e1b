"""Runs the gateway as a process of its own: `python -m ws_gateway`."""

from shared.process.service import run_service
from ws_gateway.app import serve
from ws_gateway.settings import GatewaySettings


def main() -> int:
    """Runs the gateway; returns the exit status."""
    return run_service("gateway", GatewaySettings, serve)


if __name__ == "__main__":
    raise SystemExit(main())
