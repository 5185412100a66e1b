"""OpenTelemetry tracing, on only where a collector is configured; nothing of it is imported otherwise."""

import random
import re
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import TYPE_CHECKING, Any, Final

from shared.telemetry.correlation import current_traceparent, trace_context

if TYPE_CHECKING:
    from opentelemetry.trace import Tracer

_TRACEPARENT: Final = re.compile(
    r"(?!ff)[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}(?:-.*)?"
)

_UNRECORDED: Final = nullcontext()
_tracers: "list[Tracer]" = []


def enable(service: str, endpoint: str) -> None:
    """Sends spans to the OTLP/HTTP collector at `endpoint` from now on; what is left goes out at exit."""
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter  # noqa: PLC0415  # only when on
    from opentelemetry.sdk.resources import Resource  # noqa: PLC0415
    from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415
    from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415

    provider = TracerProvider(resource=Resource.create({"service.name": f"roomcast-{service}"}))
    exporter = OTLPSpanExporter(endpoint=endpoint.rstrip("/") + "/v1/traces")
    provider.add_span_processor(BatchSpanProcessor(exporter))
    _tracers[:] = [provider.get_tracer("roomcast")]


def enabled() -> bool:
    """Returns whether spans are recorded."""
    return bool(_tracers)


def valid_traceparent(text: str) -> bool:
    """Returns whether `text` is a W3C `traceparent` header (https://www.w3.org/TR/trace-context/)."""
    return len(text) <= 256 and _TRACEPARENT.fullmatch(text) is not None


def new_traceparent() -> str:
    """Returns the start of a new trace that is not sampled."""
    trace, span = random.getrandbits(128) or 1, random.getrandbits(64) or 1
    return f"00-{trace:032x}-{span:016x}-00"


def span(name: str, **attributes: Any) -> AbstractContextManager[None]:
    """Records the block as a span of the current trace; costs next to nothing while tracing is off."""
    return _recorded(name, attributes) if enabled() else _UNRECORDED


@contextmanager
def _recorded(name: str, attributes: dict[str, Any]) -> Iterator[None]:
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator  # noqa: PLC0415

    propagator = TraceContextTextMapPropagator()
    parent = current_traceparent()
    above = propagator.extract({"traceparent": parent})
    with _tracers[0].start_as_current_span(name, context=above, attributes=attributes):
        carrier: dict[str, str] = {}
        propagator.inject(carrier)
        with trace_context(carrier.get("traceparent", parent)):
            yield
