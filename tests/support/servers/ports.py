"""Free TCP ports that stay free until their user takes them."""

import random
import socket
from pathlib import Path
from typing import Final

_LOWEST: Final = 12_000
_held: Final[dict[int, socket.socket]] = {}


def free_port() -> int:
    """A port of 127.0.0.1 that nothing else uses while this process lives.

    It lies below the range from which the kernel serves outgoing connections, and is claimed by an abstract
    Unix socket, so that another test run on this machine does not choose it too.
    """
    while True:
        port = random.randrange(_LOWEST, _first_ephemeral_port())
        if port not in _held and _claim(port):
            return port


def _first_ephemeral_port() -> int:
    return int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])


def _claim(port: int) -> bool:
    claim = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            claim.bind(f"\0roomcast-tests-port-{port}")
            probe.bind(("127.0.0.1", port))
        except OSError:
            claim.close()
            return False
    _held[port] = claim
    return True
