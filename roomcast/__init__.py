"""The command line, and all services in one process.

`cli` parses the commands; each imports what it runs only then, so that `--help` comes at once. `up`
composes the three services in one process, on `embedded` parts where no real ones are configured; `demo`
then makes two logins and two chats through the REST API, and `banner` prints where everything is. `migrate`
brings a database to the current schema. `chat` is the terminal client, `events` the operators' look into
the event store and the dead letters.

What must stay true:

- This is the one package that knows all three services; none of them knows it.
- A wrong setting stops a command before a server is reached for or a file is made, with exit status 2 and a
  line that names the variable.
- The demo logins exist only on an embedded database, and where nothing but this machine reaches the API.
- `up` asks again, at its start, for replies that were being written when it ended: its in-process bus
  forgot them.

No rule of chats, rooms or replies is here: those are the services'.
"""
