"""The REST API: the only writer of PostgreSQL and the only signer of tokens.

The order of things, as a request goes:

- `http`: what a request is. Its token, path, headers, query and body are checked as the endpoint declares.
- `routes`: what is asked. A route parses nothing and decides nothing: it calls a use case and answers.
- `accounts`, `chats`, `replies`: the use cases. Each change is one transaction, with its events.
- `outbox`: recorded events are published on the bus, in order, by one instance.
- `database`: connections, tables, and their upkeep; `migrations`: the schema.

`__main__` reads the settings, `app` opens what the process owns and serves, `assembly` builds the parts.
Replies come back from the workers over the bus, into `replies`.

What must stay true:

- A 201 means that the row and its event are committed together; nothing that happens later loses it.
- A change of a chat locks the chat's row first; so `seq` has no holes, and events go out in commit order.
- An event that arrives twice changes nothing the second time.
- Imports run one way: app, assembly, routes, replies, chats and accounts, outbox, http, database.

It does not know sockets or gateways: it tells the bus, and the bus knows who listens. It asks no model, and
reads nothing that another service stores but drafts, presence and interest, in Redis.
"""
