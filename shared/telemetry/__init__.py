"""Telemetry: logs, traces, and what ties them to a request.

`setup.configure` is called once in a process, before others log. `logs` makes structured lines on stderr, of
the libraries' too. `correlation` carries the request id and W3C `traceparent` of what the current code runs
for; events take them along. `tracing` records spans, where a collector is configured.

What must stay true:

- A log line is a dotted name plus data; never a body, a token or a password, nor a traceback that shows
  variables.
- Without a collector nothing of OpenTelemetry is imported, and a span costs next to nothing.
- Metrics are counters beside the code that counts; their labels have a bounded number of values.

It serves no HTTP: the access log is `shared/http/access_log.py`, the route `/metrics` is in
`shared/http/health.py`.
"""
