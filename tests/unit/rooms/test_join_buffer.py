"""The token bucket, what is held while joining, and a token's life."""

import asyncio
from typing import Any

import pytest

from shared.http.rate_limit import TokenBucket
from ws_gateway.clients.token_expiry import TokenExpiry, unix_time_text
from ws_gateway.rooms.fanout import Fanout
from ws_gateway.rooms.rooms import Rooms
from ws_gateway.rooms.subscriptions import JoinBuffer, Socket, Subscription
from ws_gateway.transport.connection import Connection
from ws_gateway.transport.frames import Frame, event_frame


class Clock:
    def __init__(self, now: float = 0.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


class Kept(Connection):
    """Keeps what is sent to it."""

    def __init__(self) -> None:
        super().__init__("eio", origin=None, address="")
        self.frames: list[Frame] = []

    def send(self, frame: Frame) -> None:
        self.frames.append(frame)

    def close(self) -> None: ...

    def abort(self) -> None: ...


def socket(sid: str = "s", *, expires_at: int = 0) -> Socket:
    return Socket(sid, Kept(), "ada", "Ada", "session", "token", expires_at)


def sent(one: Socket) -> list[str]:
    """Takes off what was sent, as Engine.IO packets."""
    assert isinstance(one.connection, Kept)
    frames, one.connection.frames = one.connection.frames, []
    return [f"4{frame.text}" for frame in frames]


def test_a_bucket_lets_a_burst_through_and_then_its_rate() -> None:
    """Never more at once than the burst, however long nothing came."""
    clock = Clock()
    bucket = TokenBucket(rate=10, burst=3, clock=clock)
    assert [bucket.take() for _ in range(4)] == [True, True, True, False]
    clock.now += 0.1
    assert [bucket.take(), bucket.take()] == [True, False]
    clock.now += 1000
    assert [bucket.take() for _ in range(4)] == [True, True, True, False]


def test_held_messages_are_let_go_above_a_number_and_other_events_always() -> None:
    """In the order in which they came; past the bound it says that something is lost."""
    held = JoinBuffer(3)
    for seq, text in ((4, "four"), (None, "other"), (6, "six")):
        held.add(seq, Frame(text))
    assert [frame.text for frame in held.above(4)] == ["other", "six"]
    assert not held.lost
    held.add(7, Frame("seven"))
    assert held.lost


def test_a_frame_goes_once_to_each_socket_and_waits_for_those_that_join() -> None:
    """A socket in two of the rooms gets it once, at once where one of them is not held."""
    rooms = Rooms()
    fanout = Fanout(rooms)
    both, joining, skipped = socket("both"), socket("joining"), socket("skipped")
    rooms.enter(Subscription(both, "a", JoinBuffer(5)))
    rooms.enter(Subscription(both, "b", None))
    waiting = Subscription(joining, "a", JoinBuffer(5))
    rooms.enter(waiting)
    rooms.enter(Subscription(skipped, "a", None))
    assert fanout.broadcast(("a", "b"), event_frame("new-msg", b'{"n":1}'), skip="skipped") == 2
    assert sent(both) == ['42["new-msg",{"n":1}]']
    assert sent(joining) == sent(skipped) == []
    assert fanout.release(waiting)
    assert sent(joining) == ['42["new-msg",{"n":1}]']


async def test_a_token_is_warned_of_a_minute_before_and_ends_on_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Timers follow the wall clock: whatever was set, the token's own time counts."""
    clock = Clock(1_000.0)
    timers: list[tuple[float, Any, tuple[Any, ...]]] = []

    def call_later(delay: float, then: Any, *args: Any) -> asyncio.TimerHandle:
        timers.append((delay, then, args))
        return asyncio.TimerHandle(0, then, args, asyncio.get_event_loop())

    monkeypatch.setattr(asyncio.get_running_loop(), "call_later", call_later)
    ended: list[tuple[str, str]] = []
    life = TokenExpiry(
        fanout=Fanout(Rooms()), end=lambda one, reason: ended.append((one.sid, reason)), clock=clock
    )
    one = socket(expires_at=1_000 + 200_000)
    life.start(one)
    delay, then, args = timers.pop()
    assert delay == 86_400.0
    clock.now = one.expires_at - 60.0
    then(*args)
    assert sent(one) == [f'42["token-expiring",{{"expiresAt":"{unix_time_text(one.expires_at)}"}}]']
    delay, then, args = timers.pop()
    assert delay == 60.0
    assert not ended
    clock.now = float(one.expires_at)
    then(*args)
    assert ended == [("s", "token_expired")]
