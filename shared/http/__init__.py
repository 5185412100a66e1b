"""HTTP: serving it, the same way in every service.

`server` listens and ends gracefully. A request passes `access_log` (request id, trace, log line, duration),
then `cors`, then the service's own middleware and handlers; `proxies` tells its client's address, by which
`rate_limit` counts. `health` has the operators' routes. At the end, `stop_listening` lets in those who are
being accepted, and `graceful_stop` lets clients finish with the connections that they kept.

What must stay true:

- No request is lost by an orderly stop: every answer then says `Connection: close`, and `/readyz` is 503.
- Only proxies that are configured are believed on addresses.
- Of a request the log has method, path and status: no header, no query, no body.
- Paths in metrics are routes, whose number is bounded.

It does not know what a service's errors look like, and it parses no body: see `chat_api/http`.
"""
