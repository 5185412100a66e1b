"""The address of a caller, with proxies in between."""

import pytest

from shared.config.addresses import networks
from shared.http.proxies import Proxies, rate_limit_key

TRUSTED = Proxies(networks("10.0.0.0/8, 192.0.2.1, 2001:db8::/32"))


@pytest.mark.parametrize(
    ("peer", "forwarded", "expected"),
    [
        ("203.0.113.9", "", "203.0.113.9"),
        ("203.0.113.9", "198.51.100.7", "203.0.113.9"),
        ("10.1.2.3", "", "10.1.2.3"),
        ("10.1.2.3", "198.51.100.7", "198.51.100.7"),
        ("10.1.2.3", "6.6.6.6, 198.51.100.7", "198.51.100.7"),
        ("10.1.2.3", "198.51.100.7,192.0.2.1", "198.51.100.7"),
        ("10.1.2.3", "198.51.100.7, rubbish", "10.1.2.3"),
        ("10.1.2.3", "rubbish, 192.0.2.1", "192.0.2.1"),
        ("10.1.2.3", ",".join(["10.0.0.1"] * 40), "10.0.0.1"),
        ("2001:db8::1", " [2001:db9::7] ", "2001:db9::7"),
        ("::ffff:10.1.2.3", "198.51.100.7", "198.51.100.7"),
        ("", "198.51.100.7", ""),
    ],
)
def test_only_trusted_proxies_are_believed(peer: str, forwarded: str, expected: str) -> None:
    """From the end of the header, as far as each one who speaks is trusted."""
    assert TRUSTED.behind(peer, forwarded) == expected


def test_without_trusted_proxies_the_peer_counts() -> None:
    """The header does not matter."""
    assert Proxies().behind("10.1.2.3", "198.51.100.7") == "10.1.2.3"


def test_a_customer_has_an_address_or_a_network() -> None:
    """IPv6 customers have 2^64 addresses each."""
    assert rate_limit_key("198.51.100.7") == rate_limit_key("::ffff:198.51.100.7") == "198.51.100.7"
    assert (
        rate_limit_key("2001:db8::1") == rate_limit_key("2001:db8::2:3") != rate_limit_key("2001:db8:0:1::1")
    )
    assert rate_limit_key("") == ""
