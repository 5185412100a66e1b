"""Event types by the queue that takes them: work queues, dead letters, followers.

The same on every bus; how RabbitMQ names and declares its part is in `shared/bus/rabbit/topology.py`.
"""

from typing import Final

from shared.bus import WorkQueue
from shared.events import REPLY_CANCEL_REQUESTED, REPLY_FAILED, REPLY_FINISHED, REPLY_REQUESTED

TYPES_OF: Final = {
    WorkQueue.ASSISTANT_REQUESTS: (REPLY_REQUESTED,),
    WorkQueue.API_REPLIES: (REPLY_FINISHED, REPLY_FAILED),
}
"""The event types that each work queue takes."""
QUEUE_OF: Final = {type_: queue for queue, types in TYPES_OF.items() for type_ in types}
DEAD_TYPES_OF: Final = {WorkQueue.ASSISTANT_REQUESTS: (), WorkQueue.API_REPLIES: (REPLY_REQUESTED,)}
"""The types whose dead letters a work queue takes too, so that somebody can be told."""

FOLLOWED: Final = frozenset({REPLY_CANCEL_REQUESTED})
"""The types that followers get; their events travel alone, under their type."""
OWN_MESSAGE: Final = FOLLOWED.union(QUEUE_OF)
"""The types that not only gateways take: each of their events is a message of its own, published once."""
