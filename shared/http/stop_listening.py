"""The end of listening, without a reset for those who have just connected.

Closing a listening socket resets the connections that wait in it to be accepted: their clients believe that
they are connected, and may have sent a request. So the socket takes no new ones first, by a filter of the
kernel (classic BPF, which Linux lets every program attach to its own sockets) that passes over the packets
that open a connection. Connections that wait are accepted; clients that come meanwhile try again a second
later, as TCP does, and are refused then. Where there are no such filters, the socket is simply closed.
"""

import asyncio
import ctypes
import os
import socket
import struct
from collections.abc import Iterable
from contextlib import suppress
from typing import Final

from aiohttp import web

HANDSHAKE_SECONDS: Final = 0.05
"""Enough for the handshakes that are under way."""

_SO_ATTACH_FILTER: Final = 26
_FLAGS_AT: Final = 13  # in the TCP header
_SYN_AND_ACK: Final = 0x12
_SYN: Final = 0x02
_INSTRUCTIONS: Final = (  # operation, jump if true, jump if false, operand
    (0x30, 0, 0, _FLAGS_AT),  # load the byte of the flags
    (0x54, 0, 0, _SYN_AND_ACK),  # of them, look at these two
    (0x15, 0, 1, _SYN),  # opens a connection?
    (0x06, 0, 0, 0),  # passed over
    (0x06, 0, 0, 0xFFFFFFFF),  # taken
)
_FILTER: Final = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *each) for each in _INSTRUCTIONS))


async def stop_accepting(site: web.BaseSite) -> None:
    """Stops `site` listening once the connections that wait to be accepted have been."""
    filtered = [_reject_new(each) for each in _sockets(site)]
    if any(filtered):
        await asyncio.sleep(HANDSHAKE_SECONDS)
    await site.stop()


def _sockets(site: web.BaseSite) -> Iterable[socket.socket]:
    # aiohttp has no public way to them; both asyncio's servers and uvloop's have `sockets`.
    sockets: Iterable[socket.socket] = getattr(getattr(site, "_server", None), "sockets", ())
    return sockets


def _reject_new(listening: socket.socket) -> bool:
    """Attaches the filter, through a descriptor of its own; returns whether it could."""
    program = struct.pack("HP", len(_INSTRUCTIONS), ctypes.addressof(_FILTER))
    with suppress(OSError), socket.socket(fileno=os.dup(listening.fileno())) as same:
        same.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, program)
        return True
    return False
