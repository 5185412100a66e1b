"""`python -m ws_gateway`: the gateway as a process of its own."""

from shared.process.service import run_service
from ws_gateway.app import serve
from ws_gateway.settings import GatewaySettings


def main() -> int:
    """Runs the gateway; gives the exit status."""
    return run_service("gateway", GatewaySettings, serve)


if __name__ == "__main__":
    raise SystemExit(main())
