"""The first request: the gateway takes WebSockets itself, and leaves the rest to aiohttp."""

import pytest

from ws_gateway.listener.websocket_upgrade import accept_response, parse_upgrade

KEY = "dGhlIHNhbXBsZSBub25jZQ=="
LINE = "GET /socket.io/?EIO=4&transport=websocket HTTP/1.1"
HEADERS = (
    "Host: chat.example",
    "Upgrade: websocket",
    "Connection: keep-alive, Upgrade",
    f"Sec-WebSocket-Key: {KEY}",
    "Sec-WebSocket-Version: 13",
)


def head(*headers: str, line: str = LINE) -> bytes:
    return "\r\n".join([line, *headers]).encode("latin-1")


def test_what_a_socket_io_client_sends_is_taken() -> None:
    """With or without an origin, with extensions and cookies that are passed over."""
    opening = parse_upgrade(head(*HEADERS))
    assert opening is not None
    assert (opening.key, opening.origin, opening.eio_sid) == (KEY.encode(), None, "")
    more = ("Origin: https://chat.example", "Sec-WebSocket-Extensions: permessage-deflate", "Cookie: a=b")
    line = "GET /socket.io/?EIO=4&transport=websocket&sid=abc-_1&t=x HTTP/1.1"
    opening = parse_upgrade(head(*HEADERS, *more, line=line))
    assert opening is not None
    assert (opening.origin, opening.eio_sid) == ("https://chat.example", "abc-_1")


@pytest.mark.parametrize(
    "line",
    [
        "GET /socket.io/?EIO=3&transport=websocket HTTP/1.1",
        "GET /socket.io/?transport=websocket HTTP/1.1",
        "GET /socket.io/?EIO=3&sid=&transport=websocket HTTP/1.1",
        "GET /socket.io/?EIO=4&transport=polling HTTP/1.1",
        "GET /socket.io/?EIO=4&EIO=4&transport=websocket HTTP/1.1",
        "GET /socket.io/?EIO=4&transport=websocket&j=1 HTTP/1.1",
        "GET /socket.io/other?EIO=4&transport=websocket HTTP/1.1",
        "GET /socket.io/?EIO=4&transport=websocket HTTP/1.0",
        "POST /socket.io/?EIO=4&transport=websocket HTTP/1.1",
        "GET  /socket.io/?EIO=4&transport=websocket HTTP/1.1",
        "GET /healthz HTTP/1.1",
        "",
    ],
)
def test_other_requests_are_left(line: str) -> None:
    """Every request that is not exactly that goes to aiohttp."""
    assert parse_upgrade(head(*HEADERS, line=line)) is None


@pytest.mark.parametrize("missing", HEADERS)
def test_without_one_of_its_headers_a_request_is_left(missing: str) -> None:
    """aiohttp says what is wrong."""
    assert parse_upgrade(head(*(each for each in HEADERS if each != missing))) is None


@pytest.mark.parametrize(
    "odd",
    [
        "Content-Length: 5",
        "Transfer-Encoding: chunked",
        "Expect: 100-continue",
        "Upgrade: websocket",
        "Origin: https://a.example\r\nOrigin: https://b.example",
        "Sec-WebSocket-Version: 8",
        " folded: line",
        "no colon",
        "Bad Name: x",
        "X: a\0b",
        "X: a\nb",
    ],
)
def test_a_request_with_something_odd_is_left(odd: str) -> None:
    """Two readings of one request are how requests are smuggled."""
    assert parse_upgrade(head(*HEADERS, odd)) is None


@pytest.mark.parametrize("key", ["", "short", "not base64 at all!!!!!!!", KEY + "AAAA"])
def test_a_key_that_is_no_nonce_is_left(key: str) -> None:
    """Sixteen bytes in base64."""
    headers = (each for each in HEADERS if not each.startswith("Sec-WebSocket-Key"))
    assert parse_upgrade(head(*headers, f"Sec-WebSocket-Key: {key}")) is None


def test_the_answer_is_that_of_the_rfc() -> None:
    """RFC 6455, section 1.3."""
    assert b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n" in accept_response(KEY.encode())
