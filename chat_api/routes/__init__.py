"""Routes: the endpoints of each topic, declared with their models.

A module a topic: `auth` (accounts and sessions), `chats` (chats and members), `messages`, `replies`, and
`pages` for what is open to everybody beside `/api`. Each function takes the use cases that it needs and
returns the `Endpoints` of its topic; `app` puts them together, and OpenAPI lists them in that order.

An endpoint's declaration says its path, its models, its answers and its problems. So a handler begins when
everything has been checked (see `chat_api.http`): it calls one use case, and makes the answer of its result.

What must stay true:

- A declaration names every problem that its use case raises: OpenAPI is made from it.
- Answers to logins are not to be stored by caches (`Cache-Control: no-store`).
- A page loads nothing from elsewhere, and its Content-Security-Policy says so by hashes.

It does not open transactions, decide who may do what, or read the database.
"""
