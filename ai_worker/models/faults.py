"""Faults of models: which exceptions mean which, and what each fault leads to."""

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


class ModelFault(Exception):  # noqa: N818  # a fault is a value here: it says what is tried next
    """A model did not answer as it should.

    Attributes:
        code: a stable snake_case word that clients get when nothing else helped.
        retries: how often the same model is asked again for it, at most.
        fallback: whether another model may do better.
        counts_for_breaker: whether it speaks against the model, rather than against what it was asked.
        retry_after: seconds for which the provider wants to be left alone; None where it did not say.
    """

    code: str = "model_unavailable"
    retries: int = 0
    fallback: bool = True
    counts_for_breaker: bool = True

    def __init__(self, reason: str = "", *, retry_after: float | None = None) -> None:
        super().__init__(reason)
        self.retry_after = retry_after


class RateLimitedFault(ModelFault):
    """429: too much was asked of the provider."""

    code = "model_rate_limited"
    retries = 2


class UnavailableFault(ModelFault):
    """No connection, a 5xx, or the breaker is open."""

    retries = 2


class TimeoutFault(ModelFault):
    """Nothing came for too long."""

    code = "model_timeout"
    retries = 1


class InterruptedFault(ModelFault):
    """The stream broke off, or ended without saying that this was all."""

    code = "model_interrupted"
    retries = 2


class MalformedFault(ModelFault):
    """An answer that breaks the protocol, or a tool call that stays wrong."""

    code = "model_malformed"
    retries = 1


class RejectedFault(ModelFault):
    """The provider refuses every request: a wrong key, an unknown model, no money left."""

    code = "model_rejected"


class UnfitFault(RejectedFault):
    """The provider refuses this one request."""

    counts_for_breaker = False


class FilteredFault(ModelFault):
    """The provider's content filter stepped in."""

    code = "content_filtered"
    counts_for_breaker = False


class TooLongFault(ModelFault):
    """More was sent than the model can read; with half of the chat's history it may do."""

    code = "context_too_long"
    retries = 2
    counts_for_breaker = False


class EmptyFault(ModelFault):
    """An answer without a word."""

    code = "empty_reply"
    retries = 1
    counts_for_breaker = False


class ToolFault(ModelFault):
    """A tool raised. It may have acted already, so that nothing is tried again."""

    code = "tool_failed"
    fallback = False
    counts_for_breaker = False


class StepsFault(ModelFault):
    """The agent used up its limits of requests or tokens."""

    code = "too_many_steps"
    fallback = False
    counts_for_breaker = False


class OvertimeFault(TimeoutFault):
    """The whole reply took too long."""

    retries = 0
    fallback = False
    counts_for_breaker = False


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
"""The first that fits counts; what depends on more than the type is in `_by_details`."""


def fault_of(error: Exception, *, said: bool) -> ModelFault | None:
    """Returns the fault that an exception of a run means; None for no fault of a model.

    `said`: the run has produced text.
    """
    if isinstance(error, ModelFault):
        return error
    found = _by_details(error, said=said) or next(
        (fault for types, fault in _TABLE if isinstance(error, types)), None
    )
    if found is None and _raised_by_client(error.__traceback__):
        found = MalformedFault
    if found is None:
        return None
    return found(_without_text(error), retry_after=getattr(error, "retry_after", None))


def _by_details(error: Exception, *, said: bool) -> type[ModelFault] | None:
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


def _without_text(error: Exception) -> str:
    """Returns the error without its text, which may hold what a member wrote or a part of a key."""
    details = (getattr(error, "status_code", None), getattr(error, "provider_error_code", None))
    return " ".join([type(error).__name__, *(str(detail) for detail in details if detail is not None)])


def _raised_by_client(traceback: TracebackType | None) -> bool:
    module = ""
    while traceback is not None:
        module = traceback.tb_frame.f_globals.get("__name__", "")
        traceback = traceback.tb_next
    return module.startswith(_CLIENTS)
