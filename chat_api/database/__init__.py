"""The database: connections to PostgreSQL, the tables, and their upkeep.

`connections` opens SQLAlchemy's engine for the use cases, and connections of asyncpg's own for the hot paths
(posting, the relay). `tables` describes the tables to SQLAlchemy; `migrations` makes them. `partitions` does
the upkeep, now and every hour, in one of all instances: it makes partitions ahead, removes expired rows, and
has `retention` drop partitions that hold expired rows only.

What must stay true:

- A statement takes 4 s at most, so that a caller hears within five.
- PostgreSQL ends a transaction that is silent for 3 s: a process that froze keeps no chat locked.
- `messages` and `events` are partitioned by quarters. Partitions are made two quarters ahead, by attaching
  finished tables, which blocks nobody; they are dropped without blocking posts.
- A partition is dropped only with this program's mark, and never with unpublished events in it.
- No foreign keys lead out of `messages`: whoever inserts there holds the lock on the chat's row.

The JSON that clients get is made by functions in the database, once, for answers and event bodies alike;
Python passes the bytes on.

It does not know what the rows mean, and nothing here reads or writes chats or events one by one.
"""
