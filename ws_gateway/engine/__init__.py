"""Runs the Socket.IO server: what clients' packets mean, over whichever connection they come.

Modules, in the order of a request: `websocket_opener` (a WebSocket straight on its TCP connection) or the
polling server of `transport`; `server` (connections, the sockets on them, each message); `packets` (decoded
and checked, or encoded); `application` (the interface of what clients' events are handed to).

What must stay true:

- A packet is checked before anything acts on it: whatever makes no sense ends its connection.
- An acknowledgement and the frames after it are queued in one step, so that their order is fixed.
- While a client's CONNECT is looked at, its further messages wait, bounded, and are handled in their order.
- A connection without a socket (no CONNECT yet, a refused one, after a disconnect) is closed after a while.
- A socket that was admitted is reported gone once, whether it ever was connected or not.

It uses python-socketio's packets, not its server and its rooms: leaving costs those a look at every room. It
asks nothing of clients: acknowledgements that they send are passed over. Who may come in, and what events
mean, is the application's.
"""
