"""Path, query and headers of a request, checked as the endpoint declares them."""

import re
from collections.abc import Callable, Mapping
from typing import Any, Final, get_args

from aiohttp import web
from pydantic import BaseModel, TypeAdapter, ValidationError

from chat_api.http.bodies import field_path, fits_text, single_values, validation_problem
from chat_api.http.problems import FieldError, NotFound, ValidationFailed
from shared.ids import canonical_uuid

_INTEGER: Final = re.compile(r"-?[0-9]{1,18}", re.ASCII)
_MAX_USER_ID: Final = 255


def validated(model: type[BaseModel], value: Any) -> BaseModel:
    """Returns the value as `model` has it: strictly typed, fields by the names that callers write.

    Raises:
        ValidationFailed: it does not fit.
    """
    try:
        return model.model_validate(value, strict=True, by_alias=True, by_name=False)
    except ValidationError as error:
        raise validation_problem(error) from None


def path_values(request: web.Request) -> Mapping[str, str]:
    """Returns the path's parameters; a value that cannot be an id is the id of nothing.

    Raises:
        NotFound: one is not a UUID, or not a text that could be a user's id.
    """
    values = {}
    for name, value in request.match_info.items():
        if name == "userId":
            if len(value) > _MAX_USER_ID or not fits_text(value):
                raise NotFound
            values[name] = value
        elif (identity := canonical_uuid(value)) is not None:
            values[name] = identity
        else:
            raise NotFound
    return values


def query_reader(model: type[BaseModel] | None) -> Callable[[web.Request], BaseModel | None]:
    """Returns what reads a query into `model`; an endpoint without one takes no parameters."""
    if model is None:
        return _no_query
    integers = {
        declared.alias or name
        for name, declared in model.model_fields.items()
        if _has_integer(declared.annotation)
    }

    def read(request: web.Request) -> BaseModel:
        values: dict[str, str | int] = {}
        for name, value in single_values(request.query).items():
            # What is not written as an integer stays a string, which no integer field takes.
            values[name] = int(value) if name in integers and _INTEGER.fullmatch(value) else value
        return validated(model, values)

    return read


def _has_integer(annotation: Any) -> bool:
    """Returns whether it is int, alone or in a union, bare or with bounds (Annotated)."""
    return annotation is int or any(_has_integer(part) for part in get_args(annotation))


def _no_query(request: web.Request) -> None:
    if "?" in request.raw_path and request.query_string:
        unknown = single_values(request.query)
        raise ValidationFailed(
            errors=[{"field": field_path((name,)), "message": "unknown parameter"} for name in unknown]
        )


def header_reader(types: Mapping[str, Any]) -> Callable[[web.Request], Mapping[str, str]]:
    """Returns what reads the headers of these names that were sent; each has to fit its type."""
    adapters = {name: TypeAdapter[str](kind) for name, kind in types.items()}

    def read(request: web.Request) -> Mapping[str, str]:
        return {
            name: _header(request, name, adapter)
            for name, adapter in adapters.items()
            if name in request.headers
        }

    return read


def _header(request: web.Request, name: str, adapter: TypeAdapter[str]) -> str:
    values = request.headers.getall(name)
    if len(values) > 1 or not fits_text(values[0]):
        raise ValidationFailed(errors=[FieldError(field=name, message="must be given once, in UTF-8")])
    try:
        return adapter.validate_python(values[0], strict=True)
    except ValidationError as error:
        raise ValidationFailed(
            errors=[FieldError(field=name, message=each["msg"]) for each in error.errors()]
        ) from None
