"""Replies: how the assistant's answers end, and which is requested next.

A reply is queued, requested, and then finished, failed or cancelled. In each chat one is requested at a time;
the others wait for their turn, in the order of the messages that they answer.

The order of things: a post asks for a reply (`store_posts`, in the database) → a worker writes it →
`outcomes` consumes `reply.finished`, `reply.failed`, or a request that nobody could serve → `endings`, in
one transaction: the message, the last `ai-status`, the request of the next in turn. `cancellation` ends a
reply early, `regeneration` queues another version, `failure_texts` has the sentences for failures.

What must stay true:

- A reply ends once: its chat is locked, and it must still be requested. Whoever comes later changes nothing.
- The message of a reply comes before its last `ai-status`, in positions as on the bus.
- A cancelled reply is exactly what was sent: the draft's line (`shared.store.drafts`) says what that is, and
  the last chunk goes out again before the message, as its worker may have died in between.
- A cancel waits 50 ms at most for a worker; where Redis does not answer, 15 s for the worker or for Redis.
- While the database is away, jobs wait here: an outage does not use up their bounded deliveries.

The in-process bus forgets with its process: `roomcast up` therefore asks again, at its start, for replies
that were being written when it ended (`outcomes.request_unfinished`).

It does not write replies, and does not know models or prompts: that is the worker's.
"""
