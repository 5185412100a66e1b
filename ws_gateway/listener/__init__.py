"""Accepts TCP connections, bounds them, and hands each to what serves it.

Modules, in the order in which a connection meets them: `connection_limits` (how many there may be that are no
WebSockets), `tcp` (sniffs the first request), `handshake_limits` (how many sessions may be opened),
`websocket_upgrade` (a request for a WebSocket, parsed and answered), `http_connections` and `http_app` (all
else, served by aiohttp). `refusal` is what either limit says no with.

What must stay true:

- What is no WebSocket for Engine.IO 4, or odd in any way, goes to aiohttp byte by byte as it came: `tcp` only
  ever says yes.
- A connection has a place from its first moment on, and gives it back once: when it is lost, or a WebSocket.
- Bounds are looked at before anything is spent on a client; one that is refused is told when to come again.
- A gateway that is full still answers those who ask whether it is alive.
- Connections that idle make room for others; one whose client takes nothing is cut.

It does not read what comes over a WebSocket, nor look at tokens.
"""
