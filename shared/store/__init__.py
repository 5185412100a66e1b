"""Store: state that services share in Redis.

`drafts` has the reply being written (`draft_layout`: its keys and fields; `chunk_write`: what its worker
writes). `presence` has who is online in a chat. `ended_sessions` has the sessions whose tokens are worth
nothing. `keys` are those of interest, and how to read Redis's answers. `outages` leaves a Redis alone that
failed.

What must stay true:

- Redis may be away, or come back empty. Nothing that must last is here alone: it is in PostgreSQL, or is
  written again by whoever knows it.
- Where it is away, things go on without it, slower or without a convenience: reads wait half a second at
  most, and after a failure they are left out for a while. What has to be written says that it was not.
- It must not restore an old snapshot: what it remembers wrongly is believed.
- What belongs together is read or written in one round trip.

It does not know who holds a room: see `shared/interest`, which uses these keys. Each client is opened by
`shared/process/links.py`.
"""
