"""What at least two of the services need: events, the bus, tokens, settings, telemetry."""
