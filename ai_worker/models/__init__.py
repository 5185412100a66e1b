"""Models: writes replies with an agent of pydantic-ai, over faults, fallbacks and a circuit breaker.

Before the start, `selection` finds what the settings name: models (`candidates`), and the operator's own
agent (`custom_agent`).

The way of a reply: `agent_responder` makes the `ai_worker.conversation` and the `prompt`, looks into the
`answer_cache`, asks the `breaker`, and then does a `run` with one model after the other; `faults` says what
a failure means: the same model again, the next one, or an end with a code. Tools that are plain functions
run in `tool_threads`. `metrics` counts all of it.

What must stay true:

- Of a model's fault, its type and status are logged and its code is sent, never its text: that may hold
  what a member wrote, or a part of a key.
- What a member wrote is never an instruction: it travels in messages of the role user, under its author's
  name.
- A tool that raised is not tried again: it may have acted already.
- A reply that has shown text begins anew for all to see, with `Restarted`, before another attempt says
  anything.
- Everything ends in time: a silence, and the whole reply, are bounded.

Decided otherwise than one might expect:

- Attempts and fallbacks are a loop of our own, not the library's. That falls back until the first event of
  a stream; here a reply that broke off begins anew, breakers are asked before each attempt, and each
  attempt is counted.
- The circuit breaker is our own. purgatory 3.0 reads a circuit and then writes it, so that workers
  overwrite each other, lets every call through while half open, fails with its Redis, and opens a
  connection of its own.

The bus, the draft and the room are unknown here: parts are yielded, and `ai_worker.replies` publishes them.
"""
