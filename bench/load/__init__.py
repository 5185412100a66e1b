"""Load: opens sockets, posts messages, and publishes events, at little cost of its own.

`process` runs a program that takes commands on stdin; `sockets` is such a program, which opens sockets and
counts frames, and `crowd` is its owner's side; `posters` is another, which posts to the API. `feeders`
publish the events that `messages` makes; `frames` encodes the few frames that this takes.

What must stay true: `sockets` and `posters` are run by their path, so they import nothing but the standard
library and `frames`; between looks at its sockets a load process sleeps, so that a server's writes wake
nobody up.

It knows no contender: a port and an exchange are enough.
"""
