"""Serves Engine.IO over long-polling by python-engineio, and holds all that is touched of its insides.

Modules, in the order in which a request meets them: `server` (python-engineio's server, its sessions, the
versions that this holds for), `connection` (the engine's view of a session, and its way over to a WebSocket
of our own), `packet_queue` (what waits for the next poll), `fallback_websocket` (a WebSocket served by
aiohttp, where those straight on their connections are closed).

What is replaced of python-engineio, and why:

- closing never waits for a client to read (`engineio.AsyncSocket.close` does, for ever), and answers an open
  poll (which python-engineio keeps for 45 s);
- long-polling bodies are read whole (python-engineio takes what the first read gives) and may hold as many
  packets as fit into them (it takes 16); its client takes no more, so no poll is answered with more;
- what waits for a client is bounded (python-engineio's queues are not);
- an upgrade is followed by a WebSocket of our own, which takes what is queued from then on;
- WebSocket compression is off, and whatever ends a WebSocket ends its connection.

When a library moves: `server.HOLDS_FOR` names the versions of python-socketio, python-engineio and aiohttp
that this was written against. A test fails when others are installed, and names what to look at. A gateway
that finds others still serves, but WebSockets go through python-engineio, too; it says so in its log
(`engine.stock_path`) and in `roomcast_gateway_direct_path`, which is 0 then. The gateway's tests run on both
ways.

What must stay true: nothing outside this folder touches python-engineio; no packet is lost or reordered when
a client goes over from polling; a session that has ended is free without the garbage collector.
"""
