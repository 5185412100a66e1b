"""Logs and traces of a process, set up once."""

from shared.config.settings import Settings
from shared.telemetry import logs, tracing


def configure(service: str, settings: Settings) -> None:
    """Sets up logs and, where a collector is configured, traces; once in a process, before others log."""
    logs.configure(service, as_json=settings.log_format == "json", level=settings.log_level)
    if settings.otel_exporter_otlp_endpoint is not None:
        tracing.enable(service, settings.otel_exporter_otlp_endpoint)
