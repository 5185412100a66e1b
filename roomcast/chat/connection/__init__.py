"""Connection: calls the API, keeps the socket connected, and posts in order.

The order of things: `rest` calls the API and turns refusals into errors for a person; `account` is a login
whose tokens stay fresh; with it, `link` keeps a Socket.IO connection in one chat's room and `outbox` posts
messages. `typing_signs` decides when a sign of typing is due.

What must stay true:

- After every reconnect or `resync`, the chat is joined again with the last `seq` known, so that nothing is
  missed.
- A message is tried with the same idempotency key until there is an answer: yes, or no for good.
- A new access token reaches the open socket before the old one expires.

It does not decide what is shown: it calls listeners, on the event loop, and never waits for them.
"""
