"""Settings of the gateway."""

from shared.settings import Settings


class GatewaySettings(Settings):
    """The gateway reads what all services share, and nothing else."""
