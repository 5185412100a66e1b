"""Presence: which users are online in which chats, over all gateways.

`presence` counts each user's joined sockets in each chat, writes to the shared store when the first comes
or the last goes, and has it announced if the user is at no other gateway. `announcer` publishes what is
announced, and typing, in order. `dead_gateways` looks for gateways whose heartbeat has stopped, and
announces their users offline; one gateway does so for each.

What must stay true:

- Nobody is announced offline who has a joined socket anywhere, as far as the store knows; a gateway whose
  users others may have announced offline meanwhile announces them again.
- A join waits for the store no longer than a second, and not at all while the store is away: it is then
  answered with the users online here. What was to be written is written once the store is back.
- A change is written by what is counted when it is written, so that a later one is never overtaken.
- When the gateway ends, what it wrote is taken back.

It does not decide who may see whom (rooms do: only those who have joined a chat hear of it), and its events
are ephemeral: one that is lost does no lasting harm.
"""
