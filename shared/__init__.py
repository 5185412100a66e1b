"""Parts that at least two of the services need.

At the bottom: `events` (every event that travels between services, and the bodies that programs act on),
`ids` (identifiers and times as the contract writes them), `reply_chunks`. Above them, rooms in layers; each
may import those below it, never one above:

- `process`: a service's life, its links, its start;
- `interest`: which gateways hold which rooms, and publishing to those;
- `bus.rabbit`, above `bus`: delivery between services;
- `http`: servers, middleware, operators' routes;
- `telemetry`: logs, traces, request ids;
- `store`: state in Redis;
- `auth`, `config`: tokens; settings;
- `concurrency`: waiting, retrying, ending tasks.

Nothing here imports a service.
"""
