"""What can go wrong with a model, and what is done about it."""

import re
from types import TracebackType
from typing import Final

from pydantic_ai.exceptions import (
    ContentFilterError,
    ModelAPIError,
    ModelAuthenticationError,
    ModelConnectionError,
    ModelContextWindowExceededError,
    ModelHTTPError,
    ModelNotFoundError,
    ModelQuotaExceededError,
    ModelRateLimitError,
    ModelRequestRejectedError,
    ModelRequestTimeout,
    ModelServerError,
    ModelTimeoutError,
    ModelUnavailableError,
    OutputTokenLimitExceeded,
    UnexpectedModelBehavior,
    UsageLimitExceeded,
)

_FILTERED: Final = frozenset({"content_filter", "content_policy_violation"})
_PASSING: Final = frozenset({408, 409, 425})
"""Those of the 4xx that are as good as a 5xx: the same request may do in a moment."""
_TOO_LONG: Final = re.compile(
    r"exceed_context_size|context (length|size|window)|maximum model length", re.IGNORECASE
)
"""How compatible servers word it that pydantic-ai does not know: llama.cpp, vLLM, LM Studio."""
_CLIENTS: Final = ("pydantic_ai.models", "openai", "anthropic", "google.genai", "groq", "mistralai")
"""Whose code reads a model's answer."""


class ModelFault(Exception):  # noqa: N818  # a fault is what it is called here
    """A model did not answer as it should.

    Attributes:
        code: a stable snake_case word that clients get when nothing else helped.
        again: how often the same model is asked again for it, at most.
        elsewhere: whether another model may do better.
        ailing: whether it speaks against the model and counts for its breaker, rather than against what it
            was asked.
        wait: seconds for which the provider wants to be left alone; None where it did not say.
    """

    code: str = "model_unavailable"
    again: int = 0
    elsewhere: bool = True
    ailing: bool = True

    def __init__(self, reason: str = "", *, wait: float | None = None) -> None:
        super().__init__(reason)
        self.wait = wait


class RateLimitedFault(ModelFault):
    """429: too much was asked of the provider."""

    code = "model_rate_limited"
    again = 2


class UnavailableFault(ModelFault):
    """No connection, a 5xx, or the breaker is open."""

    again = 2


class TimeoutFault(ModelFault):
    """Nothing came for too long."""

    code = "model_timeout"
    again = 1


class InterruptedFault(ModelFault):
    """The stream broke off, or ended without saying that this was all."""

    code = "model_interrupted"
    again = 2


class MalformedFault(ModelFault):
    """What came was none of the protocol's, or a tool call that stays wrong."""

    code = "model_malformed"
    again = 1


class RejectedFault(ModelFault):
    """The provider refuses every request: a wrong key, an unknown model, no money left."""

    code = "model_rejected"


class UnfitFault(RejectedFault):
    """The provider refuses this one request."""

    ailing = False


class FilteredFault(ModelFault):
    """The provider's content filter stepped in."""

    code = "content_filtered"
    ailing = False


class TooLongFault(ModelFault):
    """More was sent than the model can read; with half of the chat's history it may do."""

    code = "context_too_long"
    again = 2
    ailing = False


class EmptyFault(ModelFault):
    """An answer without a word."""

    code = "empty_reply"
    again = 1
    ailing = False


class ToolFault(ModelFault):
    """A tool raised. It may have acted already, so that nothing is tried again."""

    code = "tool_failed"
    elsewhere = False
    ailing = False


class StepsFault(ModelFault):
    """The agent used up its limits of requests or tokens."""

    code = "too_many_steps"
    elsewhere = False
    ailing = False


class OvertimeFault(TimeoutFault):
    """The whole reply took too long."""

    again = 0
    elsewhere = False
    ailing = False


_TABLE: Final[tuple[tuple[tuple[type[Exception], ...], type[ModelFault]], ...]] = (
    ((TimeoutError, ModelTimeoutError, ModelRequestTimeout), TimeoutFault),
    ((ModelRateLimitError,), RateLimitedFault),
    ((ModelContextWindowExceededError,), TooLongFault),
    ((ModelQuotaExceededError, ModelAuthenticationError, ModelNotFoundError), RejectedFault),
    ((ModelRequestRejectedError,), UnfitFault),
    ((ModelUnavailableError, ModelServerError), UnavailableFault),
    ((ContentFilterError,), FilteredFault),
    ((OutputTokenLimitExceeded,), EmptyFault),
    ((UsageLimitExceeded,), StepsFault),
    ((ModelHTTPError,), UnavailableFault),
)
"""The first that fits counts; what depends on more than the type is in `_seen_closer`."""


def fault_of(error: Exception, *, said: bool) -> ModelFault | None:
    """What an exception of a run means; None when it is no fault of a model. `said`: there was text."""
    if isinstance(error, ModelFault):
        return error
    found = _seen_closer(error, said=said) or next(
        (fault for types, fault in _TABLE if isinstance(error, types)), None
    )
    if found is None and _raised_by_client(error.__traceback__):
        found = MalformedFault
    return None if found is None else found(_named(error), wait=getattr(error, "retry_after", None))


def _seen_closer(error: Exception, *, said: bool) -> type[ModelFault] | None:
    match error:
        case ModelHTTPError():
            return _by_status(error)
        case ModelTimeoutError():
            return TimeoutFault
        case ModelConnectionError(phase=phase):
            return InterruptedFault if said or phase == "read" else UnavailableFault
        case UnexpectedModelBehavior(__cause__=cause) if type(error) is UnexpectedModelBehavior:
            # Without a cause: the stream held no chunk at all, not even one that says that this is the end.
            return MalformedFault if said else InterruptedFault if cause is None else EmptyFault
        case ModelAPIError(__cause__=cause) if type(error) is ModelAPIError:
            # Of a decoder of JSON or UTF-8; else the stream ended without a word about its end.
            return MalformedFault if isinstance(cause, ValueError) else InterruptedFault
        case _:
            return None


def _by_status(error: ModelHTTPError) -> type[ModelFault] | None:
    status = error.status_code
    if error.provider_error_code in _FILTERED:
        return FilteredFault
    if status == 413 or (status in {400, 422} and _TOO_LONG.search(str(error.body))):
        return TooLongFault
    if type(error) is ModelHTTPError and 400 <= status < 500:
        return UnavailableFault if status in _PASSING else UnfitFault
    return None


def _named(error: Exception) -> str:
    """The error without its text, which may hold what a member wrote or a part of a key."""
    details = (getattr(error, "status_code", None), getattr(error, "provider_error_code", None))
    return " ".join([type(error).__name__, *(str(detail) for detail in details if detail is not None)])


def _raised_by_client(traceback: TracebackType | None) -> bool:
    module = ""
    while traceback is not None:
        module = traceback.tb_frame.f_globals.get("__name__", "")
        traceback = traceback.tb_next
    return module.startswith(_CLIENTS)
