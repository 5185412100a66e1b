"""Hosts, URLs and origins as settings write them: checked, made canonical, shown without secrets."""

import ipaddress
import re
from collections.abc import Iterable
from typing import Final
from urllib.parse import SplitResult, urlsplit

Network = ipaddress.IPv4Network | ipaddress.IPv6Network

_HOST_NAME: Final = re.compile(r"(?!-)[A-Za-z0-9_-]{1,63}(?:\.[A-Za-z0-9_-]{1,63})*\.?")
_DEFAULT_PORTS: Final = {"http": 80, "https": 443}
_ANY: Final = frozenset({"0.0.0.0", "::"})  # noqa: S104  # compared with, not bound to
_LOOPBACK: Final = frozenset({"localhost", "127.0.0.1", "::1"})


def host_name(text: str) -> str:
    """Returns `text` as a host name or IP address; an IPv6 address loses its brackets.

    Raises:
        ValueError: it is neither.
    """
    bare = text[1:-1] if text.startswith("[") and text.endswith("]") else text
    try:
        return str(ipaddress.ip_address(bare))
    except ValueError:
        if _HOST_NAME.fullmatch(text) and not text.replace(".", "").isdigit():
            return text
        raise ValueError("neither a host name nor an IP address") from None


def is_loopback(host: str) -> bool:
    """Returns whether only this machine reaches what listens on `host`."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def networks(text: str) -> tuple[Network, ...]:
    """Parses comma-separated addresses and networks such as `10.0.0.0/8`.

    Raises:
        ValueError: one of them is neither.
    """
    return tuple(ipaddress.ip_network(part.strip()) for part in text.split(",") if part.strip())


def base_url(host: str, port: int) -> str:
    """Returns the URL by which this machine reaches `host` and `port`, such as `http://127.0.0.1:8000`."""
    reached = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104  # compared, not bound to
    return f"http://[{reached}]:{port}" if ":" in reached else f"http://{reached}:{port}"


def checked_url(text: str, schemes: tuple[str, ...], *, needs_host: bool = True) -> str:
    """Returns `text` when it is a URL of one of `schemes`.

    Raises:
        ValueError: it is not; the message holds nothing of the URL.
    """
    parts = _split(text)
    if parts.scheme not in schemes:
        raise ValueError(f"the scheme is not {' or '.join(schemes)}")
    if needs_host:
        host_name(parts.hostname or "")
    if any(character.isspace() or not character.isprintable() for character in text):
        raise ValueError("there is white space in it")
    return text


def http_origin(text: str) -> str:
    """Returns `text` as a browser sends it in `Origin`: lower case, without the scheme's own port.

    Raises:
        ValueError: it is not `http(s)://host[:port]`.
    """
    parts = _split(checked_url(text, ("http", "https")))
    if parts.path or parts.query or parts.fragment or "@" in parts.netloc or text.endswith(("?", "#")):
        raise ValueError("an origin has a scheme, a host and perhaps a port, nothing else")
    host = (parts.hostname or "").lower()
    bracketed = f"[{host}]" if ":" in host else host
    default = parts.port is None or parts.port == _DEFAULT_PORTS[parts.scheme]
    return f"{parts.scheme}://{bracketed}" + ("" if default else f":{parts.port}")


def own_origins(urls: Iterable[str]) -> frozenset[str]:
    """Returns the origins of `urls`; one on this machine's loopback counts under each of its names."""
    found: set[str] = set()
    for url in urls:
        parts = _split(url)
        host = parts.hostname or ""
        names = {"localhost", "127.0.0.1", host} if host in _LOOPBACK | _ANY else {host}
        for name in names:
            bracketed = f"[{name}]" if ":" in name else name
            port = "" if parts.port is None else f":{parts.port}"
            found.add(http_origin(f"{parts.scheme}://{bracketed}{port}"))
    return frozenset(found)


def masked(text: str) -> str:
    """Returns `text` with all that may be a password replaced by `***`; safe to show and to log."""
    if "-----BEGIN" in text or "\n" in text:
        return "***"
    scheme, separator, rest = text.rpartition("://") if "@" not in text else text.partition("://")
    if not separator:
        scheme, rest = "", text
    credentials, at, address = rest.rpartition("@")
    user = credentials.partition(":")[0] if ":" in credentials else ""
    path = address.partition("?")
    address = path[0] + ("?***" if path[1] else "")
    host, colon, tail = address.partition(":")
    if colon and separator and not address.startswith("[") and not tail.partition("/")[0].isdigit():
        address = f"{host}:***"
    return f"{scheme}{separator}{user + ':***@' if at else ''}{address}"


def _split(text: str) -> SplitResult:
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError:
        raise ValueError("not a URL") from None
    if port == 0:
        raise ValueError("the port is not one of 1 to 65535")
    return parts
