"""The Socket.IO gateway: verifies tokens, keeps rooms, turns bus events into frames.

Rooms (folders), from the outside in; each imports only those that come after it:

- `listener`: TCP connections: WebSockets for Socket.IO are served directly, aiohttp gets everything else.
- `clients`: what becomes of a socket, and the answers to what its client asks.
- `engine`: Socket.IO packets, the same over every kind of connection.
- `presence`: which users are online in which chats, over all gateways.
- `rooms`: which sockets are in which rooms, and how an event from the bus reaches them.
- `transport`: clients' connections and the frames that go over them.

`app` serves and ends; `assembly` builds the parts. `settings`, `limits`, `errors` and `metrics` are for
all.

An event: bus → `rooms.relay` → `rooms.fanout` → `transport`. A client's packet: `listener` → `transport` →
`engine` → `clients` → `rooms`, `presence`.

What must stay true: the gateway owns nothing that its clients do not give back when it dies. It has public
keys only, and asks the API with the user's token. Clients that may have missed something are told so. It
never talks to the database, and imports no other service.
"""
