"""Rooms: which sockets are in which, and how an event from the bus reaches them.

The way of an event: `relay` (a table: what is done with each kind) → `fanout` (one frame, to the
connections of all in its rooms) → `ws_gateway.transport`. `rooms` is the registry of rooms, `sockets` that
of connected sockets; both hold what `subscriptions` defines: a socket, its place in a room, and the buffer
of one that is still joining.

The way in and out is `membership` alone: it keeps registry, lease of the room and presence in step.
`chat_state` asks the API for a chat, with the user's own token. When events may have been missed, `resync`
tells sockets to join again, and `membership_recheck` asks the API about those that have not.

What must stay true:

- Relaying and fan-out never wait. So the events of a room reach each socket in the order of the bus.
- An event's frame is built once, whoever gets it; its body is never parsed. `chat-activity` is made of
  `message.created` by putting bytes together. What one delivery holds for a room in a row goes to each
  socket in one step; `chat-activity` follows behind the last of it.
- From entering a room until its release, all that comes is buffered, up to a bound; past it the buffer says
  that something is lost, and nothing may be sent after the hole.
- A removed member's sockets, joining ones too, are evicted in the step that relays `member.removed`: no
  later event of the room reaches them. Leaving is final and takes effect at once.
- Sockets of one user share a question to the API, unless it is on its way already: each has begun to buffer
  before it asks, and an older answer would leave a hole between.
- A socket and its subscriptions let go of each other when they part, so that they are freed by their
  reference counts; the garbage collector looks seldom.

It does not know clients' packets (`clients`), does not say who is a member (the API does), and uses none of
python-socketio's rooms: leaving costs those a look at every room.
"""
