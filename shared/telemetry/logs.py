"""Structured logs on stderr: lines for people on a terminal, JSON lines for programs.

Libraries that use the standard `logging` come out the same way, from warnings up: below that some of them
write bodies and parameters, which do not belong in a log.
"""

import logging
import sys
from typing import Any

import orjson
import structlog
from aiohttp import ClientConnectionResetError
from aiohttp.http_exceptions import HttpProcessingError
from structlog.typing import EventDict, Processor, WrappedLogger

from shared.telemetry.correlation import current_request_id


def configure(service: str, *, as_json: bool, level: str) -> None:
    """Sets up structlog and `logging`; `level` is one of their words, such as "info"."""
    threshold = logging.getLevelNamesMapping()[level.upper()]
    shared_steps: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        _request_named,
        _service_named(service),
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True, key="time"),
    ]
    rendering = _json_steps() if as_json else _console_steps()
    structlog.configure(
        processors=[*shared_steps, *rendering],
        wrapper_class=structlog.make_filtering_bound_logger(threshold),
        logger_factory=structlog.WriteLoggerFactory(file=sys.stderr),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared_steps,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *rendering],
        )
    )
    logging.basicConfig(handlers=[handler], level=max(threshold, logging.WARNING), force=True)
    for each in (_without_malformed, _without_clients_gone):
        logging.getLogger("aiohttp.server").addFilter(each)
    logging.captureWarnings(capture=True)


def bind_service(service: str) -> None:
    """Names the service for what the current task, and tasks started by it, log from now on."""
    structlog.contextvars.bind_contextvars(service=service)


def _without_malformed(record: logging.LogRecord) -> bool:
    """Logs malformed requests in a line of our own: aiohttp's holds their headers, tokens too."""
    error = record.exc_info[1] if record.exc_info else None
    if isinstance(error, HttpProcessingError):
        structlog.get_logger().info("http.malformed", error=type(error).__name__)
        return False
    return True


def _without_clients_gone(record: logging.LogRecord) -> bool:
    """Logs as no failure that a client goes before it is told to send its body (`Expect`)."""
    error = record.exc_info[1] if record.exc_info else None
    if isinstance(error, ClientConnectionResetError):
        structlog.get_logger().info("http.gone")
        return False
    return True


def _request_named(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    if request_id := current_request_id():
        event.setdefault("request_id", request_id)
    return event


def _service_named(service: str) -> Processor:
    def name(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
        event.setdefault("service", service)
        return event

    return name


def _json_steps() -> list[Processor]:
    return [structlog.processors.format_exc_info, structlog.processors.JSONRenderer(serializer=_json_text)]


def _console_steps() -> list[Processor]:
    # A plain traceback: the pretty ones show local variables, and a password may be one.
    plain = structlog.dev.plain_traceback
    return [structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty(), exception_formatter=plain)]


def _json_text(event: dict[str, Any], **_: Any) -> str:
    return orjson.dumps(event, default=str, option=orjson.OPT_NON_STR_KEYS).decode()
