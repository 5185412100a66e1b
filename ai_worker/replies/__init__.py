"""Replies: writes one for each request, and publishes it chunk by chunk.

The way of a reply: `worker` takes the request and asks the responder; `chunks` joins its tokens into chunks
of at most 30 ms or 1 KiB; `broadcast` numbers the attempt, keeps the draft, and publishes status, chunks
and outcome; `group_publish` puts what many replies publish at about the same time into one round trip to
Redis and one message to each gateway. Beside them, `cancellation` cuts the replies that were cancelled.

A cancel: the API marks the reply and publishes `reply.cancel_requested`, which every worker follows on a
queue of its own; `cancellation` sets the reply's `Cut`, and the stream ends between two chunks with
`reply.finished` holding what was sent. The API waits for that 50 ms at most: then it draws a line through
the draft and ends the reply by what stands above. A worker learns of a chunk below the line in the round
trip that would have stored it, and does not send it; one that gets the request anew sees the line and
leaves the reply.

What must stay true:

- Chunks, joined in the order of their index, are the text of `reply.finished`, to the character.
- A chunk is in the draft before it is on the bus: a socket that joins in between finds it, gets it, or
  both.
- Status and chunks may be lost; the outcome is published until the bus has confirmed it.
- Attempts are numbered in Redis: a worker that finds a later attempt, or the reply ended, stops without a
  word.

No model is known here, and no room's members. Failures that another attempt may mend are raised: how often
a job is retried is the bus's business.
"""
