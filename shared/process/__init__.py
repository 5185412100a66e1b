"""Process: the life of a service as a process of its own.

`service.run_service` is what a service's `__main__` calls: it reads the settings, sets up telemetry, and
has `runtime.run` turn the event loop; `links` opens the bus and Redis, and the service's composition root
serves until it is told to stop. `roomcast up` runs the same roots without this room's `service`, on embedded
parts.

What must stay true:

- The first SIGINT or SIGTERM lets the service drain, a later one cuts it.
- The exit status says how it ended: 0 orderly, 1 failed, 2 settings refused, 130 cut.
- Links to RabbitMQ and Redis are made when they are needed, and again after each loss, by themselves.

The garbage collector looks seldom and not at what was imported (`tune_gc`): with its defaults it took an
eighth of a gateway's time while 2000 clients came (docs/performance.md). So what a connection holds has to be
free without it: parts that know each other let go at the end (`test_gateway_left_behind.py`).

It knows no service, and no HTTP: a service brings its server from `shared/http`.
"""
