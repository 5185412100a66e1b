"""Embedded parts: opens the database, the bus and the store that no setting names.

`parts` locks the data folder and opens each part: the configured one, else an embedded one. Of these, only
the database is a program of its own: `postgres` starts, adopts and stops it, `programs` finds its binaries
of the version that made the data, and `account` picks the user that it runs as, since it refuses to run as
root.

What must stay true:

- One `up` at a time on a data folder: the lock ends with the process, however it ends.
- Data that an interruption left half-made is never used: it is made aside and then renamed.
- A PostgreSQL that was left running, because its `up` was killed, is taken over, not started twice.
- It listens on no port: only on a socket in its folder, or in a temporary one where that path is too long.

The in-process bus and store keep nothing beyond the process.
"""
