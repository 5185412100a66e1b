"""JSON bodies: what fits reaches the handler, and what does not is named."""

from collections.abc import AsyncIterator
from io import BytesIO
from typing import Any

import orjson
import pytest
from unit.http.endpoints import Ask, sent


async def test_a_fitting_body_reaches_the_handler(ask: Ask) -> None:
    """camelCase in, camelCase out."""
    context = {"a": [1, 2.5, None, {"b": "ü"}]}
    got = await ask("POST", "/things", json={"someTitle": "x", "memberIds": ["y"], "context": context})
    assert (got.status, got.json) == (201, {"someTitle": "x", "context": context})
    assert got.headers["Content-Type"].startswith("application/json")


@pytest.mark.parametrize(
    ("body", "at"),
    [
        ({}, "someTitle"),
        ({"some_title": "x"}, "some_title"),
        ({"someTitle": 1}, "someTitle"),
        ({"someTitle": ""}, "someTitle"),
        ({"someTitle": "toolong"}, "someTitle"),
        ({"someTitle": "x", "surprise": 1}, "surprise"),
        ({"someTitle": "x", "memberIds": ["a", 7]}, "memberIds.1"),
        ({"someTitle": "x", "memberIds": ["a"] * 4}, "memberIds"),
        ({"someTitle": "x", "part": {"someNumber": "1"}}, "part.someNumber"),
        ({"someTitle": "x", "part": {"someNumber": True}}, "part.someNumber"),
        ({"someTitle": "x", "part": {"someNumber": 1.5}}, "part.someNumber"),
        ({"someTitle": "x", "isDone": 1}, "isDone"),
        ({"someTitle": "x", "isDone": "true"}, "isDone"),
        ({"someTitle": "x", "kind": "c"}, "kind"),
        ({"someTitle": "x", "context": []}, "context"),
        ({"someTitle": "x", "context": {"deep": [{"a\0": 1}]}}, "context.deep.0.a\0"),
        ({"someTitle": "x", "context": {"deep": [0, "a\0"]}}, "context.deep.1"),
        ({"someTitle": "a\0"}, "someTitle"),
        ([], ""),
        ("text", ""),
        (None, ""),
    ],
)
async def test_what_does_not_fit_is_named_as_the_caller_wrote_it(ask: Ask, body: Any, at: str) -> None:
    """422 with the field's path, strictly typed."""
    got = await ask("POST", "/things", **sent(orjson.dumps(body)))
    assert (got.status, got.code) == (422, "validation_failed")
    assert at in got.fields


async def test_characters_are_code_points(ask: Ask) -> None:
    """Five emoji are five characters."""
    assert (await ask("POST", "/things", json={"someTitle": "😀" * 5})).status == 201
    assert (await ask("POST", "/things", json={"someTitle": "😀" * 6})).status == 422


@pytest.mark.parametrize("text", [b'"\\ud800"', b'"\\udc00\\ud800"', b'"a\\ud83dz"'])
async def test_lone_surrogates_do_not_fit(ask: Ask, text: bytes) -> None:
    """In values and in keys, wherever they are."""
    value = b'{"someTitle": "x", "context": {"a": %s}}' % text
    key = b'{"someTitle": "x", "context": {%s: 1}}' % text
    for body in (value, key):
        got = await ask("POST", "/things", **sent(body))
        assert (got.status, got.code) == (422, "validation_failed")
        assert got.fields[0].startswith("context.")


async def test_escapes_that_only_look_like_nul_fit(ask: Ask) -> None:
    r"""`\\u0000` is a backslash and five characters."""
    got = await ask("POST", "/things", **sent(rb'{"someTitle": "x", "context": {"a": "\\u0000"}}'))
    assert got.status == 201
    paired = b'{"someTitle": "\\ud83d\\ude00"}'
    assert (await ask("POST", "/things", **sent(paired))).json["someTitle"] == "😀"


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"{}}",
        b"nonsense",
        b"\xff",
        b'{"someTitle": "\xff"}',
        b'{"someTitle": NaN}',
        b'{"someTitle": Infinity}',
        b'{"someTitle": -Infinity}',
        b'{"someTitle": "a\x00b"}',
        b"\xef\xbb\xbf{}",
        "{}".encode("utf-16"),
        b"[" * 100_000,
        b"[" * 101 + b"]" * 101,
        b'{"a":' * 101 + b"1" + b"}" * 101,
    ],
)
async def test_what_is_not_json_is_bad_json(ask: Ask, body: bytes) -> None:
    """400 `bad_json`; too deep to be written again counts as that."""
    got = await ask("POST", "/things", **sent(body))
    assert (got.status, got.code) == (400, "bad_json")


async def test_deep_but_bearable_json_fits(ask: Ask) -> None:
    """A hundred levels are taken, and many brackets side by side."""
    deep: Any = 1
    for _ in range(98):
        deep = [deep]
    body = {"someTitle": "x", "context": {"deep": deep, "wide": [[] for _ in range(500)]}}
    assert (await ask("POST", "/things", json=body)).status == 201


async def test_numbers_beyond_a_double_do_not_fit(ask: Ask) -> None:
    """They could not be written again."""
    got = await ask("POST", "/things", **sent(b'{"someTitle": "x", "context": {"a": 1e999}}'))
    assert (got.status, got.fields) == (422, ["context.a"])


async def test_objects_of_callers_are_bounded(ask: Ask) -> None:
    """16 KiB as compact JSON, not a byte more."""
    fits = {"a": "x" * (16 * 1024 - 8)}
    assert len(orjson.dumps(fits)) == 16 * 1024
    assert (await ask("POST", "/things", json={"someTitle": "x", "context": fits})).status == 201
    fits["a"] += "x"
    got = await ask("POST", "/things", json={"someTitle": "x", "context": fits})
    assert (got.status, got.fields) == (422, ["context"])


async def test_a_flood_of_misfits_gets_a_short_answer(ask: Ask) -> None:
    """Neither the number of errors nor a field's name makes the answer large."""
    got = await ask("POST", "/things", json={f"{'k' * 300}{number}": 1 for number in range(500)})
    assert got.status == 422
    assert len(got.raw) < 30_000


@pytest.mark.parametrize(
    "media",
    [
        "text/plain",
        "application/xml",
        "application/x-www-form-urlencoded",
        "application/json; charset=latin-1",
    ],
)
async def test_a_body_is_json_by_name(ask: Ask, media: str) -> None:
    """415 `unsupported_media_type`."""
    got = await ask("POST", "/things", data=b'{"someTitle": "x"}', headers={"Content-Type": media})
    assert (got.status, got.code) == (415, "unsupported_media_type")


async def test_a_body_without_a_type_is_unsupported(ask: Ask) -> None:
    """Nobody guesses; with a charset of UTF-8 it is JSON, in any case of letters."""
    got = await ask("POST", "/things", data=b"{}", skip_auto_headers=["Content-Type"])
    assert got.code == "unsupported_media_type"
    media = {"Content-Type": "Application/JSON; charset=UTF-8"}
    assert (await ask("POST", "/things", data=b'{"someTitle": "x"}', headers=media)).status == 201


async def chunks(count: int) -> AsyncIterator[bytes]:
    for _ in range(count):
        yield b"x" * 65_536


async def test_large_bodies_are_refused(ask: Ask) -> None:
    """413 `too_large` past 256 KiB, with a length and in chunks; the service goes on."""
    edge = b'{"someTitle": "x"}'.ljust(256 * 1024)
    assert (await ask("POST", "/things", **sent(edge))).status == 201
    for body in (edge + b" ", BytesIO(b"x" * 10_000_000), chunks(5), chunks(160)):
        got = await ask("POST", "/things", **sent(body))
        assert (got.status, got.code) == (413, "too_large")
    assert (await ask("POST", "/things", json={"someTitle": "x"})).status == 201


async def test_broken_codings_are_bad_json(ask: Ask) -> None:
    """A body that is not what its Content-Encoding says."""
    headers = {"Content-Type": "application/json", "Content-Encoding": "gzip"}
    got = await ask("POST", "/things", data=b"not gzip", headers=headers)
    assert (got.status, got.code) == (400, "bad_json")


async def test_integers_may_be_written_as_json_schema_allows(ask: Ask) -> None:
    """7.0 is 7."""
    assert (await ask("POST", "/things/named", json={"seq": 7.0})).json == {"seq": 7}
    for seq in (7.5, "7", True, -1, 2**53, 1e300):
        assert (await ask("POST", "/things/named", json={"seq": seq})).status == 422
