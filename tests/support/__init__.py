"""Test support: servers, clients and drivers that the tests and the benchmark share.

`servers` runs private instances of PostgreSQL, RabbitMQ and Redis; `database` is a migrated database with
rows to stand on. `stack` runs Roomcast as a whole, in either shape, `program` the command line, `gateways`
one gateway in this process. `rest`, `clients` and `raw_socket` speak to them, as a REST client, as the
official Socket.IO clients and byte by byte; `client_kinds` names the clients a test runs with. `forging`
makes tokens that the API did not issue, `proxy` is a TCP link that fails as networks do, `model` a model
server that follows a script, `posting` makes posts as the store takes them, and `deployment` reads
compose.yaml and what belongs to it.

It holds no tests, and imports none. Helpers of one folder's tests alone stand in that folder.
"""
