"""Bus on RabbitMQ: delivery between processes, over AMQP 0-9-1.

Out: `bus` → `messages` (which AMQP messages a batch becomes; `cloudevents`: their headers and bodies) →
`sender` (the publishing link) → `confirms` (writes them, and reads the broker's answers) → `wire_format`. In,
for gateways and followers: `frame_tap` → `deliveries` → `subscription` → the listener; for work queues:
`jobs`. Beneath both: `link` keeps a connection up, `topology` has every name and argument on the broker.
`dead_letters` is for operators.

Events are CloudEvents 1.0 in the AMQP binding's binary mode: attributes are headers, the body is exactly the
JSON that clients get. One topic exchange, `roomcast.events`; the routing key is the event's type. A gateway's
queue has two bindings for life, its own key and `gateway.all`; a publisher names the gateways in a `BCC`
header (RabbitMQ's sender-selected distribution), which the broker takes off. What one publish holds for the
same gateways travels as one message (a framing of the same events, `application/vnd.roomcast.events`), a lone
event alone; events that a work queue takes, or followers, are always single messages.

What must stay true:

- Each message is confirmed; one for a work queue is mandatory, so that a queue that is missing is noticed.
- A link that is lost is made anew for ever, with backoff; a listener whose queue did not survive has a gap.
- No queue has a binding for each room, and the queues of gateways are not durable: nobody waits for a disk.
- A queue that the broker has with other arguments is a `TopologyMismatchError`, for an operator to mend.

aiormq, not aio-pika's upper half: aio-pika is built on aiormq and costs half as much again per message
(measured: 270 against 390 µs per confirmed publish, 120 against 180 to 200 per message consumed); its robust
connections reconnect silently, and a gateway has to know when it may have missed something. Nor is it used
where speed does not matter: `dead_letters` by it is hardly shorter (tried), as it needs `link` a second time,
for its kind of connection. It stays a dependency: a version of it names the aiormq that fits, and a test and
the benchmark's comparison speak to the broker by it, as other programs do.

Deliveries, publishing and confirms past aiormq: it makes three frame objects, nine awaits and a task of each
message that comes, and not much less of one that goes and of its confirm. `frame_tap` stands between the
socket and aiormq, as a transport factory, which aiormq takes: it picks the frames of deliveries, or of
confirms, out, and aiormq, which keeps the connection, never sees them. Messages are written as their bytes to
the same transport, on a channel that aiormq has opened and does not publish on. As the broker sends no
heartbeats while it sends these frames, aiormq is given one now and then. A gateway in 2000 rooms of 5 needs
0.7 of what it did (docs/performance.md). Jobs, of which there are few, come by aiormq.
"""
