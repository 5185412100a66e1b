"""The sentences for replies that failed, in plain words; the code is for programs."""

from typing import Final

OTHERWISE: Final = "The assistant could not write an answer."

_BECAUSE: Final = {
    "content_filtered": "The provider of its model does not allow this content.",
    "context_too_long": "This is more than it can read at once; a shorter message may help.",
    "empty_reply": "Its model had nothing to say; asking in other words may help.",
    "model_interrupted": "The connection to its model broke off; please try again.",
    "model_malformed": "Its model answered with something unreadable; please try again.",
    "model_rate_limited": "It is being asked too much right now; please try again in a minute.",
    "model_rejected": "Its model refuses to be asked; the operator of this server has to look at it.",
    "model_timeout": "Its model took too long; please try again.",
    "model_unavailable": "Its model cannot be reached right now; please try again in a few minutes.",
    "too_many_steps": "It took too many steps without coming to an end.",
    "tool_failed": "A tool that it used has failed.",
    "worker_lost": "It was interrupted again and again.",
}


def sentence(code: str) -> str:
    """Returns the sentence for a failure with this code; nothing but the fact where more is not known."""
    because = _BECAUSE.get(code)
    return OTHERWISE if because is None else f"{OTHERWISE} {because}"
