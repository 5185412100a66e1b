"""The parts of the benchmark that figures hang on."""

import asyncio
import random
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence

import pytest

from bench.load.feeders import feed_on_time, spread
from bench.load.frames import PING, PONG, STAMP, STAMP_DIGITS, frames_in
from bench.load.messages import Talk, message_created
from bench.load.sockets import Clients
from bench.meter import Meter, ticks
from bench.rows.latency import quantile
from shared.events import Event
from shared.ids import new_id

BUSY = """
import subprocess, sys, threading, time

def burn(seconds):
    until = time.thread_time() + seconds
    while time.thread_time() < until:
        pass

thread = threading.Thread(target=burn, args=(0.1,))
thread.start()
burn(0.1)
thread.join()
busy = "import time\\nwhile time.process_time() < 0.2: pass\\nprint(flush=True)\\ntime.sleep(60)"
child = subprocess.Popen([sys.executable, "-c", busy], stdout=subprocess.PIPE)
child.stdout.readline()
if sys.argv[1] == "ended":
    child.kill()
    child.wait()
print("done", flush=True)
sys.stdin.read()
child.kill()
"""


@pytest.fixture(params=["alive", "ended"])
def busy(request: pytest.FixtureRequest) -> Iterator[subprocess.Popen[bytes]]:
    """A process that burns 0.1 s itself, 0.1 s in a thread and 0.2 s in a child that lives or has ended."""
    command = [sys.executable, "-c", BUSY, request.param]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        yield process
        process.communicate()


def test_cpu_is_that_of_all_threads_and_children(busy: subprocess.Popen[bytes]) -> None:
    meter, until = Meter(busy.pid), time.monotonic() + 10
    while meter.cpu() < 0.4:
        assert time.monotonic() < until, meter.cpu()
    assert meter.cpu() < 1.0


def test_the_clock_tells_what_proc_tells() -> None:
    with subprocess.Popen([sys.executable, "-c", "while True: pass"]) as process:
        time.sleep(0.3)
        process.send_signal(signal.SIGSTOP)
        time.sleep(0.05)
        assert Meter(process.pid).cpu() == pytest.approx(ticks(process.pid), abs=0.021)
        process.kill()


@pytest.mark.parametrize("length", [0, 125, 126, 65535, 65536, 70000])
def test_frames_of_every_length_are_taken_whole(length: int) -> None:
    payload = b"x" * length
    if length < 126:
        head = bytes((0x81, length))
    elif length < 65536:
        head = b"\x81\x7e" + length.to_bytes(2, "big")
    else:
        head = b"\x81\x7f" + length.to_bytes(8, "big")
    data = bytearray(head + payload + b"\x81")
    assert list(frames_in(data)) == [payload]
    assert data == b"\x81"
    assert list(frames_in(bytearray((head + payload)[:-1]))) == []


def test_what_comes_in_pieces_is_counted_once() -> None:
    message = message_created(new_id(), 1).body
    stream = (b"\x81\x7e\x01\x90" + b'42["new-msg",' + message + b"]") * 20 + PING
    chance = random.Random(7)
    for _ in range(50):
        ours, theirs = socket.socketpair()
        with ours, theirs:
            clients = Clients(prompt=True)
            clients._open[ours.fileno()] = ours
            left = stream
            while left:
                size = chance.choice((1, 3, 17, 400, 2000))
                theirs.sendall(left[:size])
                clients._read(ours.fileno())
                left = left[size:]
            assert (clients._frames, clients._pings) == (20, 1)
            assert theirs.recv(100) == PONG


async def test_events_that_wait_for_a_flush_go_together_and_are_as_old() -> None:
    flushes: list[Sequence[Event]] = []

    class Slow:
        async def feed(self, events: Sequence[Event]) -> None:
            flushes.append(events)
            await asyncio.sleep(0.05)

    moments = [(0.0, "a"), (0.01, "b"), (0.02, "a"), (0.2, "b")]
    began = time.monotonic_ns()
    await feed_on_time(Slow(), Talk(), moments)
    assert [[event.subject for event in flush] for flush in flushes] == [["a"], ["b", "a"], ["b"]]
    assert [event.seq for flush in flushes for event in flush] == [1, 1, 2, 2]
    waited = [_sent(event) - began for event in flushes[1]]
    assert waited == pytest.approx([10e6, 20e6], abs=15e6)


def _sent(event: Event) -> int:
    return int(event.body.partition(STAMP)[2][:STAMP_DIGITS])


def test_moments_are_spread_at_the_rate() -> None:
    moments = spread(["a", "b"], 1000, 4.0, random.Random(1))
    assert len(moments) == 4000
    assert moments == sorted(moments)
    assert moments[-1][0] == pytest.approx(4.0, rel=0.1)


def test_a_quantile_is_a_value_that_was_seen() -> None:
    assert quantile([float(number) for number in range(1, 101)], 0.99) == 100.0
    assert quantile([5.0], 0.5) == 5.0
