"""Reads bodies and queries into values for a model: bounded, JSON, and without NUL or surrogates."""

import json
import math
from collections.abc import Iterator
from typing import Any, Final, NoReturn

import orjson
from aiohttp import hdrs, web
from multidict import MultiMapping
from pydantic import ValidationError

from chat_api.http.problems import (
    BadJson,
    FieldError,
    TooLarge,
    UnsupportedMediaType,
    ValidationFailed,
)

_JSON: Final = "application/json"
MAX_BODY_BYTES: Final = 256 * 1024
MAX_DEPTH: Final = 100
"""Deeper JSON is refused; writing it again would fail at about 250."""
MAX_ERRORS: Final = 50
_MAX_PATH: Final = 200
_SCALAR_ERROR: Final = "must not contain NUL, lone surrogates or numbers beyond a double"


async def read_json(request: web.Request) -> Any:
    """Reads the JSON value in a request's body.

    Raises:
        UnsupportedMediaType, TooLarge, BadJson: it is not JSON of at most 256 KiB, or too deep.
        ValidationFailed: a string in it holds NUL or a lone surrogate, or a number is too large.
    """
    declared = request.headers.get(hdrs.CONTENT_TYPE)
    if declared is not None:
        if declared != _JSON and not _is_json(request):
            raise UnsupportedMediaType
    elif request.can_read_body:
        raise UnsupportedMediaType
    return parse_json(await read_body(request))


def _is_json(request: web.Request) -> bool:
    return request.content_type == _JSON and (request.charset or "utf-8").lower() == "utf-8"


async def read_body(request: web.Request) -> bytes:
    """Reads the body, of which never more than the bound is held.

    Raises:
        TooLarge: it has more than 256 KiB; the rest is left unread.
        BadJson: its transfer or content coding is broken.
    """
    length = request.content_length
    if length is not None and length > MAX_BODY_BYTES:
        raise TooLarge
    try:
        first = await request.content.readany()
        if len(first) == length and hdrs.CONTENT_ENCODING not in request.headers:
            return first  # all of it, as nearly always
        body, chunk = bytearray(), first
        while chunk:
            body += chunk
            if len(body) > MAX_BODY_BYTES:
                raise TooLarge
            chunk = await request.content.readany()
    except web.RequestPayloadError as error:
        raise BadJson("The body's coding is broken.") from error
    return bytes(body)


def parse_json(body: bytes) -> Any:
    """Returns the value that `body` writes.

    Raises:
        BadJson: it is not JSON in UTF-8, or nested too deeply.
        ValidationFailed: a string in it holds NUL or a lone surrogate, or a number is too large.
    """
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        _refuse(body, str(error))
    if b"\\u0000" in body:
        refuse_bad_scalars(value)
    # Few brackets cannot nest deeply, and nearly all bodies have few.
    if body.count(b"[") + body.count(b"{") > MAX_DEPTH and _depth(value) > MAX_DEPTH:
        raise BadJson(f"The body is nested more than {MAX_DEPTH} deep.")
    return value


def _refuse(body: bytes, reason: str) -> NoReturn:
    """Raises ValidationFailed for JSON whose strings or numbers do not fit, BadJson for what is no JSON."""
    try:
        value = json.loads(body.decode(), parse_constant=_refuse_constant)
    except (ValueError, RecursionError):
        raise BadJson(f"The body is not JSON in UTF-8: {reason}.") from None
    refuse_bad_scalars(value)
    raise BadJson(f"The body is not JSON in UTF-8: {reason}.")


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def refuse_bad_scalars(value: Any) -> None:
    """Checks every string, key and number of `value`.

    Raises:
        ValidationFailed: one holds NUL or a lone surrogate, or is not finite.
    """
    errors: list[FieldError] = []
    for path, scalar in _scalars(value):
        if not _fits(scalar):
            errors.append({"field": field_path(path), "message": _SCALAR_ERROR})
            if len(errors) == MAX_ERRORS:
                break
    if errors:
        raise ValidationFailed(errors=errors)


def _fits(scalar: object) -> bool:
    if isinstance(scalar, str):
        return fits_text(scalar)
    return not isinstance(scalar, float) or math.isfinite(scalar)


def fits_text(value: str) -> bool:
    """Returns whether `value` has neither NUL nor a lone surrogate."""
    return "\0" not in value and (value.isascii() or not any("\ud800" <= c <= "\udfff" for c in value))


Path = tuple[str | int, ...]


def _scalars(value: Any) -> Iterator[tuple[Path, object]]:
    """Yields every key and every value that holds no others, with its path; without recursion."""
    waiting: list[tuple[Path, Any]] = [((), value)]
    while waiting:
        path, found = waiting.pop()
        if isinstance(found, dict):
            for key, inner in found.items():
                yield (*path, key), key
                waiting.append(((*path, key), inner))
        elif isinstance(found, list):
            waiting.extend(((*path, index), inner) for index, inner in enumerate(found))
        else:
            yield path, found


def _depth(value: Any) -> int:
    depth, level = 0, [value]
    while level := [found for found in level if isinstance(found, dict | list)]:
        depth += 1
        level = [inner for found in level for inner in (found.values() if isinstance(found, dict) else found)]
    return depth


def single_values(query: MultiMapping[str]) -> dict[str, str]:
    """Returns a query's parameters, each given once.

    Raises:
        ValidationFailed: one is given twice, or holds NUL or a lone surrogate.
    """
    values = {name: query[name] for name in query}
    errors: list[FieldError] = []
    if len(values) != len(query):
        errors += [
            {"field": field_path((name,)), "message": "given more than once"}
            for name in values
            if len(query.getall(name)) > 1
        ]
    errors += [
        {"field": field_path((name,)), "message": _SCALAR_ERROR}
        for name, value in values.items()
        if not (fits_text(name) and fits_text(value))
    ]
    if errors:
        raise ValidationFailed(errors=errors[:MAX_ERRORS])
    return values


def validation_problem(error: ValidationError) -> ValidationFailed:
    """Returns pydantic's findings as callers are told: their own names for the fields, never their values."""
    found = error.errors(include_url=False, include_context=False, include_input=False)
    return ValidationFailed(
        errors=[
            {"field": field_path(each["loc"]), "message": each["msg"].removeprefix("Value error, ")}
            for each in found[:MAX_ERRORS]
        ]
    )


def field_path(path: Path) -> str:
    """Returns `("memberIds", 0)` as `memberIds.0`, in text that can be written as JSON."""
    dotted = ".".join(map(str, path))[:_MAX_PATH]
    return dotted.encode("utf-8", "backslashreplace").decode()
