"""Carries packets between clients and the engine: WebSockets of our own, and long-polling in `polling`.

Modules, on the way to a client: `frames` (a packet, encoded once for all who get it), `connection` (the
interface that the engine and the rooms send to), `websocket_connection` (Engine.IO straight on a WebSocket),
`websocket` (what is queued, and backpressure), `turn_writes` (what one turn of the loop sends, joined).
On the way from a client: `websocket`, `frame_reader` (bytes to messages), `websocket_connection`, the engine.
Beside them: `heartbeat` (pings), `open_websockets` (all that are open).

WebSockets go without aiohttp and python-engineio. There a WebSocket is two or three tasks, a queue without a
bound and a writer without a time-out: 34 KiB a socket, and a wake-up of a task for each frame. Here it is one
protocol on its TCP connection, 6 KiB, without a task. It is RFC 6455 without extensions, checked by wsproto
and by a comparison with stock `emit` on each transport. python-engineio keeps what is rare: long-polling, and
the upgrade from it.

What is sent in one turn of the event loop is joined, with no timer. A lone message waits for nothing; under
load a turn holds more, and a socket's share of it is one write. What one AMQP message holds for a room in a
row goes to each of its sockets in one step (`frames.Burst`).

Backpressure: a slow client is not asked for more. While what was written to it is not taken, nothing is read
from it, so that answers are bounded by what it asked before. Events that wait are bounded by
`GATEWAY_MAX_WAITING`: droppable ones (typing, presence) are left out first, then the slow consumer is cut.

What must stay true: `send` never waits; frames arrive in the order of `send`, or not at all; a connection
that is gone is free without the garbage collector.

It does not know what Socket.IO packets mean, nor who is in which room.
"""
