"""OpenAPI 3.1, made from the endpoints as they are declared and the models that validate."""

from collections.abc import Iterator, Sequence
from http import HTTPStatus
from typing import Any, Final

from pydantic import BaseModel, TypeAdapter
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaMode, models_json_schema

from chat_api.http.endpoints import Endpoint, Endpoints
from chat_api.http.fields import NO_NUL
from chat_api.http.problems import (
    PROBLEM_TYPE,
    BadJson,
    Internal,
    NotFound,
    Problem,
    TokenExpired,
    TokenInvalid,
    TokenMissing,
    TooLarge,
    Unavailable,
    UnsupportedMediaType,
    ValidationFailed,
)

JSON: Final = "application/json"
_REF: Final = "#/components/schemas/{model}"
_USER_ID: Final = {"type": "string", "minLength": 1, "maxLength": 255, "pattern": NO_NUL}
_UUID: Final = {"type": "string", "format": "uuid"}

_PROBLEM: Final = {
    "type": "object",
    "description": "RFC 9457 problem details.",
    "required": ["type", "title", "status", "detail", "code"],
    "properties": {
        "type": {"type": "string", "format": "uri-reference"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
        "code": {"type": "string", "description": "A stable word to decide by."},
        "errors": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["field", "message"],
                "properties": {
                    "field": {"type": "string", "description": "The path of what does not fit."},
                    "message": {"type": "string"},
                },
            },
        },
    },
}
_JSON_VALUE: Final = {
    "description": "Any JSON value whose strings have no NUL.",
    "anyOf": [
        {"type": "null"},
        {"type": "boolean"},
        {"type": "number"},
        {"type": "string", "pattern": NO_NUL},
        {"type": "array", "items": {"$ref": "#/components/schemas/JsonValue"}},
        {
            "type": "object",
            "propertyNames": {"pattern": NO_NUL},
            "additionalProperties": {"$ref": "#/components/schemas/JsonValue"},
        },
    ],
}


class _Untitled(GenerateJsonSchema):
    """Schemas without titles: a field's name is title enough."""

    def field_title_should_be_set(self, schema: Any) -> bool:  # noqa: ARG002 - as overridden
        return False


class _Schemas:
    """The models' schemas: one for reading, one for writing where they differ."""

    def __init__(self, groups: Sequence[Endpoints]) -> None:
        models = dict.fromkeys(used for group in groups for each in group.all for used in _models(each))
        refs, definitions = models_json_schema(list(models), ref_template=_REF, schema_generator=_Untitled)
        self._refs = refs
        named = definitions.get("$defs", {})
        bodies = {each.body.__name__ for group in groups for each in group.all if each.body}
        for name in named.keys() - bodies:
            # Answers may grow.
            named[name].pop("additionalProperties", None)
        self.components: dict[str, Any] = {**named, "Problem": _PROBLEM, "JsonValue": _JSON_VALUE}

    def of(self, model: type[BaseModel], mode: JsonSchemaMode) -> dict[str, Any]:
        return dict(self._refs[model, mode])

    def parameters(self, query: type[BaseModel]) -> Iterator[dict[str, Any]]:
        name = self.of(query, "validation")["$ref"].rpartition("/")[2]
        # A query is no body: its fields stand one by one.
        whole = self.components[name]
        for field, schema in whole["properties"].items():
            yield {
                "name": field,
                "in": "query",
                "required": field in whole.get("required", ()),
                "schema": _without_null(schema),
                **({"description": schema["description"]} if "description" in schema else {}),
            }


def openapi(groups: Sequence[Endpoints], *, version: str) -> dict[str, Any]:
    """Returns the API's description, as JSON values."""
    schemas = _Schemas(groups)
    paths: dict[str, dict[str, Any]] = {}
    for group in groups:
        for endpoint in group.all:
            operation = _operation(endpoint, schemas)
            paths.setdefault(endpoint.path, {})[endpoint.method.lower()] = operation
    queries = {endpoint.query.__name__ for group in groups for endpoint in group.all if endpoint.query}
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Roomcast",
            "version": version,
            "description": "Post messages over REST; rooms of sockets get them as events.",
            "license": {"name": "MIT", "identifier": "MIT"},
        },
        "servers": [{"url": "/"}],
        "tags": [{"name": tag} for tag in dict.fromkeys(group.tag for group in groups)],
        "security": [{"bearerAuth": []}],
        "paths": paths,
        "components": {
            "schemas": {name: one for name, one in schemas.components.items() if name not in queries},
            "securitySchemes": {"bearerAuth": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"}},
        },
    }


def _models(endpoint: Endpoint) -> Iterator[tuple[type[BaseModel], JsonSchemaMode]]:
    if endpoint.body is not None:
        yield endpoint.body, "validation"
    if endpoint.query is not None:
        yield endpoint.query, "validation"
    for model in endpoint.declared["answers"].values():
        if model is not None:
            yield model, "serialization"


def _operation(endpoint: Endpoint, schemas: _Schemas) -> dict[str, Any]:
    declared = endpoint.declared
    operation: dict[str, Any] = {
        "operationId": _operation_id(endpoint),
        "tags": [endpoint.tag],
        "summary": declared["summary"],
        "responses": _responses(endpoint, schemas),
    }
    if "description" in declared:
        operation["description"] = declared["description"]
    if parameters := [*_parameters(endpoint, schemas)]:
        operation["parameters"] = parameters
    if endpoint.body is not None:
        content = {JSON: {"schema": schemas.of(endpoint.body, "validation")}}
        operation["requestBody"] = {"required": True, "content": content}
    if declared.get("open"):
        operation["security"] = []
    return operation


def _operation_id(endpoint: Endpoint) -> str:
    words = [word.strip("{}") for word in endpoint.path.split("/") if word not in {"", "api"}]
    return endpoint.method.lower() + "".join(word[0].upper() + word[1:] for word in words)


def _parameters(endpoint: Endpoint, schemas: _Schemas) -> Iterator[dict[str, Any]]:
    for name in endpoint.parameters:
        schema = _USER_ID if name == "userId" else _UUID
        yield {"name": name, "in": "path", "required": True, "schema": schema}
    if endpoint.query is not None:
        yield from schemas.parameters(endpoint.query)
    for name, kind in endpoint.declared.get("headers", {}).items():
        schema = TypeAdapter(kind).json_schema()
        yield {"name": name, "in": "header", "required": False, "schema": schema}


def _responses(endpoint: Endpoint, schemas: _Schemas) -> dict[str, Any]:
    responses: dict[str, Any] = {}
    for status, model in endpoint.declared["answers"].items():
        response: dict[str, Any] = {"description": HTTPStatus(status).phrase}
        if model is not None:
            response["content"] = {JSON: {"schema": schemas.of(model, "serialization")}}
        responses[str(status)] = response
    by_status: dict[int, list[type[Problem]]] = {}
    for problem in dict.fromkeys(_problems(endpoint)):
        by_status.setdefault(problem.status, []).append(problem)
    for status, problems in sorted(by_status.items()):
        responses[str(status)] = _problem_response(status, problems)
    return responses


def _problems(endpoint: Endpoint) -> Iterator[type[Problem]]:
    """Yields the problems that it may answer: its own, and those of the checks before it."""
    yield from endpoint.declared.get("problems", ())
    if not endpoint.declared.get("open"):
        yield from (TokenMissing, TokenInvalid, TokenExpired)
    if endpoint.parameters:
        yield NotFound
    if endpoint.body is not None:
        yield from (BadJson, TooLarge, UnsupportedMediaType)
    yield from (ValidationFailed, Internal, Unavailable)


def _problem_response(status: int, problems: Sequence[type[Problem]]) -> dict[str, Any]:
    response: dict[str, Any] = {
        "description": "\n".join(f"- `{problem.code}`: {problem.explanation()}" for problem in problems),
        "content": {PROBLEM_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}},
    }
    if status in {HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE}:
        seconds = {"description": "Seconds to wait.", "required": True, "schema": {"type": "integer"}}
        response["headers"] = {"Retry-After": seconds}
    return response


def _without_null(schema: dict[str, Any]) -> dict[str, Any]:
    """Returns the schema of a query parameter, which is left out, never null."""
    kinds = [kind for kind in schema.get("anyOf", ()) if kind != {"type": "null"}]
    bare = {key: value for key, value in schema.items() if key not in {"title", "description", "anyOf"}}
    if bare.get("default", ...) is None:
        del bare["default"]
    if len(kinds) == 1:
        return {**bare, **kinds[0]}
    return {**bare, "anyOf": kinds} if kinds else bare
