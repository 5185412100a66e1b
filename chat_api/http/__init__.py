"""HTTP: what a request is before a use case sees it, and how failures answer.

The order of things: `error_middleware` stands around everything → `endpoints` authenticates the caller, then
has `parameters` check path, headers and query, and `bodies` read the JSON, both by the models that the
endpoint declares (`fields` has their types) → the operation. `problems` lists every failure, `rate_limits`
what is counted, `cursors` the places in pages. `openapi` describes the API from the same declarations.

What must stay true:

- Nothing reaches an operation that does not fit its declaration: neither NUL nor lone surrogates, no unknown
  fields, no body above 256 KiB, no JSON nested more than 100 deep.
- Every failure answers as a problem (RFC 9457) with a stable code. A dependency that is away is 503, and
  never 500; what nobody expected is logged with its trace and answers 500 without it.
- Callers read of their own field names, never of values.
- A query parameter or header that is given twice is refused.

A lone client address may register 300 users a minute, a user may post 200 messages a second: the limits are
per process, and meant to stop runaway programs, not people.

It does not know accounts or chats: `Authenticator` is how it asks who calls.
"""
