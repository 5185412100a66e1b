"""Events, for operators: lists, follows and replays the event store, and treats dead letters.

`cli` parses `roomcast events …`; `sources` finds the database and the broker; `stored` lists, shows and
follows events, by way of `feed`; `replay` publishes them again; `dead` lists, shows, gives back and drops
dead letters. `output` prints all of it, as tables or JSON; `moments` parses times as one types them.

What must stay true:

- A replayed event keeps its id, so that those who have handled it drop it.
- A dead letter is taken off only once the broker has confirmed it on its queue, or when it is dropped for
  good.
- With `--json`, stdout holds nothing but JSON, an object a line; remarks go to stderr.
- What is outdated is not replayed unless that was asked for.

Nothing here changes the store: events are only read.
"""
