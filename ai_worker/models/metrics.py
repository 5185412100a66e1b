"""The metrics of models and of the queue of requests."""

from typing import Final

from prometheus_client import Counter, Gauge, Histogram

_SECONDS: Final = (0.05, 0.1, 0.25, 0.5, 1, 2, 4, 8, 16, 32, 64, 128)

REQUESTS = Counter(
    "roomcast_ai_requests",
    "Runs of an agent with a model, by how they ended: ok, abandoned (cancelled), or a fault's code.",
    ["model", "outcome"],
)
FIRST_TOKEN = Histogram(
    "roomcast_ai_first_token_seconds",
    "From asking a model to its first text, over the tools it called before.",
    ["model"],
    buckets=_SECONDS,
)
TOKENS = Counter("roomcast_ai_tokens", "Tokens, as the providers count them.", ["model", "direction"])
FAILURES = Counter("roomcast_ai_failures", "Replies that no model could write, by code.", ["code"])
CACHE = Counter("roomcast_ai_cache", "Questions that may be cached, by whether they were.", ["result"])
BREAKER = Gauge(
    "roomcast_ai_breaker_state",
    "Of a model's breaker, as of the last look: 0 closed, 1 half open, 2 open.",
    ["model"],
)
QUEUE = Gauge(
    "roomcast_worker_queue_length",
    "Replies asked for that no worker has taken yet, as of the last look; the same for every worker.",
)
