"""Conversation: keeps the state of the open chat, and shows what changes.

`conversation` takes events and answers of joins, and passes each on: messages to the `timeline`, which puts
them in order; chunks and statuses to the `reply` being written; presence, typing and membership to
`people`. It then shows what is due on the screen.

What must stay true: events may come in any order and repeat, and the outcome is the same; a chunk of an
attempt that was given up, or of a reply that is whole, is dropped.

It asks nobody for anything: a gap in the timeline is seen here, and closed by the client.
"""
