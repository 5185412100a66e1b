"""The outbox: events stand in the database with the change that they tell of, and are published from there.

The order of things: `announcements` makes an event → `record` writes it in the caller's transaction →
`leader`: of all API instances one holds an advisory lock and relays → `relay` says when to look and what
goes next. What this process has just stored is offered to it, and goes out in the step that learns of the
commit, if `gaps` says that nothing can appear before it; for all else `unpublished` looks into the table.
`in_flight` holds batches until the bus confirms them, then `marking` marks them as published, many at once.

Beside it: `lag` has the gauges of what waits. `event_store` and `event_replay` are for operators.

What must stay true:

- An event is marked only when the bus has confirmed it: each is published at least once.
- Positions are taken under the chat's lock, and each room's events are published in their order: the next
  of a room goes out when the one before is confirmed.
- The table has everything. NOTIFY and offers only make it sooner; a look a second finds what they missed.
- A leader that is silent for 3 s loses its session and with it the lock; one that stops marks what it has
  published, and tells the others that the lock is free.
- Unpublished events are never dropped, by retention either.

It does not deduplicate: consumers do, by the events' ids. It does not choose queues or gateways: the
publisher does (`shared.interest.publisher`).
"""
