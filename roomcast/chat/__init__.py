"""The terminal client, `roomcast chat`: lets a person, or a script, chat by nothing but the public contract.

The order of things: `command` finds the addresses; `run` picks the screen; `lobby` logs in and finds the
chat; `client` runs it: it shows what the socket brings and posts what is typed. Lines that begin with a
colon are `commands`. The rooms below: `screens` (terminal or pipes), `connection` (API and socket),
`conversation` (one chat's state). `models` is the contract as it is read here.

What must stay true:

- Each message is shown once, in the order of `seq`, without holes.
- A posted line is posted once, however often it has to be tried.
- Nothing that others wrote steers the terminal: control characters are replaced.
- Through pipes, messages go to stdout and all else to stderr; the exit status says whether all was sent.

It uses no module of the services: what it can do, any other client can.
"""
