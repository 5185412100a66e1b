"""Common ground of the API's models: camelCase names, and the types whose bounds the contract gives.

A model validates and describes itself: OpenAPI is made from these.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Final

import orjson
from annotated_types import GroupedMetadata, MaxLen, MinLen
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    GetJsonSchemaHandler,
    WithJsonSchema,
)
from pydantic.alias_generators import to_camel
from pydantic_core import CoreSchema

MAX_OBJECT_BYTES: Final = 16 * 1024
MAX_SEQ: Final = 2**53 - 1
"""Larger integers are not exact in JavaScript."""
NO_NUL: Final = r"^[^\u0000]*$"
"""How a schema says that NUL does not fit; `bodies` refuses it, before any model looks."""


class ApiModel(BaseModel):
    """A body, a query or an answer: made by Python name, read and written in camelCase.

    Bodies are validated strictly (no `"1"` for 1, no 1 for true); an unknown field does not fit. Arrays are
    `list`s: a strict `tuple` takes none.
    """

    model_config = ConfigDict(
        frozen=True,
        alias_generator=to_camel,
        validate_by_name=True,
        validate_by_alias=True,
        serialize_by_alias=True,
        extra="forbid",
    )


@dataclass(frozen=True, slots=True, eq=False)
class SchemaNote:
    """A note that adds to a type's description, not to what fits it."""

    said: Mapping[str, Any]

    def __get_pydantic_json_schema__(
        self, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        return {**handler(schema), **self.said}


@dataclass(frozen=True, slots=True)
class text(GroupedMetadata):  # noqa: N801 - reads as the type that it narrows: Annotated[str, text(1, 200)]
    """A string of `shortest`..`longest` code points."""

    shortest: int
    longest: int
    description: str = ""

    def __iter__(self) -> Iterator[object]:
        yield MinLen(self.shortest)
        yield MaxLen(self.longest)
        described = {"description": self.description} if self.description else {}
        yield SchemaNote({"pattern": NO_NUL, **described})


def _fits(value: dict[str, Any]) -> dict[str, Any]:
    if len(orjson.dumps(value)) > MAX_OBJECT_BYTES:
        raise ValueError("must be at most 16 KiB as JSON")
    return value


JsonObject = Annotated[
    dict[str, Any],
    AfterValidator(_fits),
    WithJsonSchema(
        {
            "type": "object",
            "propertyNames": {"pattern": NO_NUL},
            "additionalProperties": {"$ref": "#/components/schemas/JsonValue"},
            "description": "Any JSON object of at most 16 KiB.",
        }
    ),
]
"""An object that callers keep with a chat or a message; at most 16 KiB as compact JSON."""

Uuid = Annotated[str, SchemaNote({"format": "uuid"})]
"""An id in an answer."""

Timestamp = Annotated[str, SchemaNote({"format": "date-time"})]
"""A time in an answer: RFC 3339, UTC, milliseconds."""


def _whole(value: object) -> object:
    return int(value) if isinstance(value, float) and value.is_integer() else value


Seq = Annotated[int, Field(ge=0, le=MAX_SEQ), BeforeValidator(_whole)]
"""A message's number in its chat; 0 is before the first. 7.0 is an integer, too, as JSON Schema has it."""

DisplayName = Annotated[str, text(1, 80)]
UserId = Annotated[str, text(1, 255)]
Password = Annotated[str, text(8, 128)]
