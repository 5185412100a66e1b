"""Interest: the gateways that hold a room, so that its events go to those only.

Gateways keep their rooms in Redis by `InterestLeases`; `EventPublisher` asks `InterestReader` right before it
publishes, or right after if an `InterestMemory` has a guess. The rule: never wrong, only slower. Where the
answer cannot be known, it is "every gateway".

What is in Redis:

- `roomcast:interest:<room>`, a set of instance names, kept for 15 minutes, refreshed every 5 by its holders.
- `roomcast:gateways`, a sorted set of instance names by the time of their last heartbeat (Redis's clock).
  Two heartbeats come a second. One that is 2.5 s old is stale: what that gateway holds is not known, so it
  gets every event. One that is 60 s old is forgotten. A gateway that knows that not all of its rooms are
  registered gives its heartbeat as stale already.
- `roomcast:interest:epoch`, the time from which the store is to be trusted. It is missing in a Redis that
  came back empty; the first heartbeat sets it 2.5 s ahead, by when every living gateway has come back too.

On the channel `roomcast:interest:dropped` gateways tell which rooms they hold no longer, so that nobody is
remembered who has left. Nothing depends on it but that.

So a Redis that forgets everything is safe, but one that remembers wrongly is not: it must not restore an old
snapshot. Run it without persistence (`--save "" --appendonly no`).

Publish by a guess, then look: interest has to be looked up after the commit, or one who joins meanwhile has a
hole. That need not be before the event goes out. It goes to those who held the room at the last look, is
looked up while it travels, and goes to those who were missing; only then may the next of that room go. So the
look costs a lone message no time. A guess may hold a gateway that has left, until that says so on the
channel; without the channel nothing is guessed.
"""

from shared.interest.leases import InterestLeases
from shared.interest.memory import InterestMemory
from shared.interest.reader import InterestReader

__all__ = ["InterestLeases", "InterestMemory", "InterestReader"]
