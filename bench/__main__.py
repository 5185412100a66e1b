"""`python -m bench`: runs rows, writes what came out."""

import argparse
import logging
import shutil
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final

import structlog
import uvloop

from bench.contenders.gateways import KINDS, Profile
from bench.environment import ROOT, environment
from bench.report.documents import markdown, publish, write
from bench.report.results import Book
from bench.rows.arriving import handshake
from bench.rows.growth import room_growth, rooms_growth
from bench.rows.latency import latency
from bench.rows.one_room import bursts, room1000
from bench.rows.replies import replies
from bench.rows.scene import Scene
from bench.rows.small_rooms import small
from bench.rows.unheld import unheld
from bench.rows.whole_path import whole_path

OUTPUT: Final = ROOT / "bench" / "results"
ROWS: Final[dict[str, Callable[[Scene], Awaitable[None]]]] = {
    "room1000": room1000,
    "bursts": bursts,
    "small": small,
    "handshake": handshake,
    "latency": latency,
    "room-growth": room_growth,
    "rooms-growth": rooms_growth,
    "unheld": unheld,
    "replies": replies,
    "whole-path": whole_path,
}


async def run(options: argparse.Namespace) -> Book:
    """Runs the chosen rows."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    book = Book(lambda line: print(line, flush=True))
    profile = None
    if options.profile:
        options.profile.mkdir(parents=True, exist_ok=True)
        near = Path(sys.executable).parent / "py-spy"
        found = shutil.which("py-spy") or (near if near.exists() else None)
        profile = Profile(options.profile.resolve(), "py-spy" if found else "cprofile")
    async with environment() as servers:
        scene = Scene(servers, book, options.rounds, options.kinds, profile, options.scale)
        for name in options.only:
            began = time.monotonic()
            print(f"{name}: {(ROWS[name].__doc__ or '').strip()}", flush=True)
            await ROWS[name](scene)
            print(f"  took {time.monotonic() - began:.0f} s", flush=True)
    return book


def chosen(known: tuple[str, ...]) -> Callable[[str], list[str]]:
    """Parses names separated by commas."""

    def parse(text: str) -> list[str]:
        names = [name.strip() for name in text.split(",") if name.strip()]
        if wrong := [name for name in names if name not in known]:
            raise argparse.ArgumentTypeError(f"{wrong[0]} is none of {', '.join(known)}")
        return [name for name in known if name in names] or list(known)

    return parse


def main() -> int:
    """Runs and prints."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--only", type=chosen(tuple(ROWS)), default=list(ROWS), help="rows, comma-separated")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--kinds", type=chosen(KINDS), default=list(KINDS), help="gateways, comma-separated")
    parser.add_argument("--profile", type=Path, help="a folder for profiles of Roomcast's gateway")
    parser.add_argument("--scale", type=float, default=1.0, help="less than 1 is quicker and says less")
    parser.add_argument("--output", type=Path, default=OUTPUT, help="a folder for what comes out")
    parser.add_argument("--publish", action="store_true", help="put the figures into docs/performance.md")
    options = parser.parse_args()
    began = time.monotonic()
    book = uvloop.run(run(options))
    write(
        book,
        options.output,
        minutes=round((time.monotonic() - began) / 60, 1),
        rounds=options.rounds,
        scale=options.scale,
        profiled=bool(options.profile),
    )
    if options.publish:
        publish(options.output, ROOT / "docs" / "performance.md")
    print(f"\n{markdown(book)}\n\nAll of it: {options.output}/results.json, .md and .svg")
    return 0


if __name__ == "__main__":
    sys.exit(main())
