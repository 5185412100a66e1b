"""The assistant's worker: turns a reply request into a streamed reply.

The way of a request: `app` consumes the work queue of requests; `replies` writes each reply and publishes
it as it grows; the text comes from a responder (`responder` is the interface), which is `demo`, or an agent
asking `models`. `assistant` builds the responder that `settings` ask for; `gauges` shows operators the
queue and the breakers.

What must stay true:

- A request is acknowledged only after its outcome was confirmed by the bus, so that a dead worker's reply
  is written anew by another.
- The worker owns nothing: all that it needs is in the request, and what it writes is on the bus and in the
  draft.
- `replies` knows responders only by their interface; `models` and `demo` know nothing of the bus.
- The demo imports no agent library: that costs 0.9 s and some 60 MB (measured; OpenAI's client on top: 38
  MB and 0.7 s). The library itself is a normal dependency of 30 MB; the providers' clients are extras.

It stores no message, ends no reply and asks for none: the API does, by what the worker publishes. It does
not know who is in a room either: interest routing does.
"""
