"""Clients: what becomes of a socket from its CONNECT packet until it is gone.

`lifecycle` is the engine's application, and its methods are the order of things: admitted (`handshake` →
`key_wait`, for a key that is too new to be known), connected, asked (`handlers` → `payloads`), gone. A
socket ends from this side by `disconnects`: because its token has expired (`token_expiry`), its session was
revoked (`revoked_sessions`) or it floods. `drain` ends all of them when the gateway stops.

A join (`joining`) is: enter the room and buffer its events; lease the room, so that publishers know of this
gateway; ask the API for the chat; count in presence; acknowledge; release what was buffered above
`lastSeq`.

What must stay true:

- Every event of a client is acknowledged, if it asked for that, with a result or an error of
  `ws_gateway.errors`. No payload is used before `payloads` has checked it.
- A socket is in its user's room before it is told that it is connected, and its session is looked at again
  then: what happens in between is neither missed nor let through.
- Joins and leaves of one room are done in the order in which a client asks for them. Each request takes
  from the socket's rate; four joins of a socket are answered at once, as each may bring a megabyte.
- A socket that may have missed something while it was joining is closed, so that its client comes again.
- A user's token is all that the API is asked with: the gateway cannot do what the user could not.

It does not read packets (`ws_gateway.engine`) nor accept connections (`ws_gateway.listener`), and takes no
messages: those are posted to the API.
"""
