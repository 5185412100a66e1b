"""Client addresses behind trusted proxies (`X-Forwarded-For`)."""

import ipaddress
from collections.abc import Iterable
from typing import Final

from aiohttp import web

from shared.config.addresses import Network

FORWARDED_FOR: Final = "X-Forwarded-For"
_MOST_HOPS: Final = 16


class Proxies:
    """The proxies whose word counts; of nobody else's `X-Forwarded-For` anything is believed."""

    def __init__(self, trusted: Iterable[Network] = ()) -> None:
        self._trusted = tuple(trusted)

    def address(self, request: web.BaseRequest) -> str:
        """Returns the address that `request` comes from: its peer, or the one that trusted proxies name.

        Each proxy appends its own peer to the header, so it is read from its end, as far as proxies are
        trusted. "" where there is no address.
        """
        said = ",".join(request.headers.getall(FORWARDED_FOR, ())) if self._trusted else ""
        return self.behind(request.remote or "", said)

    def behind(self, peer: str, forwarded: str) -> str:
        """Returns the same from the peer's address and the header's value."""
        if not self._trusted:
            return peer
        found = peer
        for hop in reversed(forwarded.split(",")[-_MOST_HOPS:]):
            if not self.trusts(found):
                break
            address = _address(hop)
            if address is None:
                break
            found = str(address)
        return found

    def trusts(self, text: str) -> bool:
        """Returns whether this is the address of a trusted proxy."""
        address = _address(text)
        return address is not None and any(address in network for network in self._trusted)


def rate_limit_key(address: str) -> str:
    """Returns the part of an address that one customer has: an IPv4 address, an IPv6 network of 64 bits."""
    if ":" not in address:
        return address
    parsed = _address(address)
    if isinstance(parsed, ipaddress.IPv6Address):
        return str(ipaddress.ip_network((parsed, 64), strict=False))
    return address if parsed is None else str(parsed)


def _address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        address = ipaddress.ip_address(text.strip().strip("[]").partition("%")[0])
    except ValueError:
        return None
    mapped = getattr(address, "ipv4_mapped", None)
    return mapped or address
