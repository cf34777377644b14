"""The OpenAPI 3.1 document of a catalog: what clients may send, and every answer they can get."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from http import HTTPStatus
from typing import Any, get_args

from pydantic.errors import PydanticUserError
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaMode, models_json_schema
from pydantic_core import PydanticSerializationError, core_schema, from_json, to_json

from .call import Call, ContractError
from .catalog import AnyCall, Catalog
from .failure import Outcome, Party
from .fields import request_fields
from .problem import Problem
from .sample import SCHEMAS, Json
from .security import DEFAULT_DOORS, Doors
from .shown import Shown, shown_examples

_PROBLEM_NAME = "busgate.Problem"
"""A name with a dot, which no model has."""

_URI: Json = {"type": "string", "format": "uri-reference"}
_HEAD: Json = {
    "type": _URI | {"description": "What happened; switch on this."},
    "title": {"type": "string"},
    "status": {"type": "integer"},
    "detail": {"type": "string"},
    "instance": _URI | {"description": "Names this request; say it when you ask for help."},
    "outcome": {
        "enum": list(get_args(Outcome)),
        "description": "Whether the work was done. After `not_executed` it is safe to try again.",
    },
}
_REQUIRED = ["type", "title", "status", "outcome"]
_ERROR: Json = {
    "type": "object",
    "properties": {
        "detail": {"type": "string"},
        "pointer": {"type": "string", "description": "JSON pointer into the body, as a URI fragment."},
        "in": {"enum": ["path", "query", "header"]},
        "name": {"type": "string", "description": "The parameter, where it is not in the body."},
    },
    "required": ["detail"],
}
_PROBLEM: Json = {
    "type": "object",
    "description": "A problem document (RFC 9457).",
    "properties": _HEAD
    | {
        "by": {"enum": list(get_args(Party)), "description": "Who failed."},
        "errors": {"type": "array", "items": _ERROR},
    },
    "required": _REQUIRED,
}
_COMMON = {
    400: "The request is not well-formed",
    401: "Authentication is needed",
    403: "The caller may not do this",
    406: "Only application/json is served here",
    413: "The body is too large",
    415: "The body is not application/json",
    422: "The request does not match the contract",
    500: "The service failed",
    502: "The reply does not match the contract, or a service behind the service failed",
    503: "No worker, or too many calls; nothing was done",
    504: "No reply in time; `outcome` says whether the work may have been done",
}
_RETRY_AFTER: Json = {
    "description": "Seconds after which a new try makes sense",
    "schema": {"type": "integer"},
}
_PREFER: Json = {
    "name": "Prefer",
    "in": "header",
    "description": "`wait=N` lowers the time limit of the call to N seconds (RFC 7240).",
    "schema": {"type": "string"},
    "example": "wait=2",
}

TITLE, VERSION = "API", "1"
"""What stands in a document where nobody said better."""


def document(
    catalog: Catalog,
    *,
    title: str = TITLE,
    version: str = VERSION,
    description: str = "",
    doors: Doors = DEFAULT_DOORS,
) -> Json:
    """Describe a catalog; the same catalog gives the same document.

    Args:
        catalog: the contracts.
        title: of the API.
        version: of the API.
        description: CommonMark.
        doors: how callers prove who they are.

    Raises:
        ContractError: a model has a type that JSON Schema cannot say.
    """
    references, schemas = _schemas(catalog)
    schemas[_PROBLEM_NAME] = _PROBLEM
    paths: dict[str, Json] = {}
    templates: dict[tuple[str, ...], Call[Any, Any]] = {}
    for call in catalog:
        first = templates.setdefault(call.http.shape[1:], call)  # whatever the names of the variables
        names = dict(zip(call.http.variables, first.http.variables, strict=True))
        operation = _operation(call, references, schemas, names) | {"security": doors.of(call)}
        paths.setdefault(first.http.path, {})[call.http.method.lower()] = operation
    responses = {str(status): _common_response(status) for status in _COMMON}
    used = _reachable([paths, responses], schemas)
    return _as_json(
        {
            "openapi": "3.1.0",
            "info": {"title": title, "version": version} | ({"description": description} if description else {}),
            "paths": paths,
            "components": {
                "schemas": {name: schema for name, schema in schemas.items() if name in used},
                "responses": responses,
                "parameters": {"Prefer": _PREFER},
                "securitySchemes": doors.all(catalog),
            },
        }
    )


def _as_json(value: Json) -> Json:
    """A copy that has no part in common with anything and holds nothing but JSON, whatever authors put into schemas.

    Raises:
        PydanticSerializationError: something in it cannot be JSON.
    """
    return dict(from_json(to_json(value, inf_nan_mode="null")))


class _Generator(GenerateJsonSchema):
    """Says what the edge does: unknown members are refused in requests, replies are complete and may grow."""

    ignored_warning_kinds = {"skipped-choice", "non-serializable-default"}  # noqa: RUF012 - as in the base class

    def field_is_required(self, field: Any, total: bool) -> bool:
        if self.mode == "serialization" and field["type"] != "typed-dict-field":
            return True
        return super().field_is_required(field, total)

    def encode_default(self, dft: Any) -> Any:
        default = super().encode_default(dft)
        if from_json(to_json(default, inf_nan_mode="null")) != default:
            raise PydanticSerializationError("infinity is not JSON")  # then the schema names no default
        return default

    def model_schema(self, schema: core_schema.ModelSchema) -> Json:
        json_schema = super().model_schema(schema)
        return json_schema if schema.get("root_model") else self._closed(json_schema)

    def dataclass_schema(self, schema: core_schema.DataclassSchema) -> Json:
        return self._closed(super().dataclass_schema(schema))

    def typed_dict_schema(self, schema: core_schema.TypedDictSchema) -> Json:
        return self._closed(super().typed_dict_schema(schema))

    def _closed(self, json_schema: Json) -> Json:
        if self.mode == "validation" and json_schema.get("type") == "object":
            return json_schema | {"additionalProperties": False}
        return {name: value for name, value in json_schema.items() if name != "additionalProperties"}


References = Mapping[tuple[Any, JsonSchemaMode], Json]
"""By model and mode."""


def _schemas(catalog: Catalog) -> tuple[References, dict[str, Json]]:
    """A reference for each model, and what the references name."""
    inputs: dict[tuple[Any, JsonSchemaMode], None] = {}
    problems: dict[type[Problem], None] = {}
    for call in catalog:
        inputs[call.request, "validation"] = None
        inputs[call.reply, "serialization"] = None
        problems.update(dict.fromkeys(call.errors))
    inputs |= {(problem.model, "serialization"): None for problem in problems}
    try:
        references, definitions = models_json_schema(
            list(inputs), ref_template=SCHEMAS + "{model}", schema_generator=_Generator
        )
        schemas = _as_json(definitions.get("$defs", {}))
    except (PydanticUserError, PydanticSerializationError) as error:
        raise ContractError(f"a model has no JSON schema: {getattr(error, 'message', error)}") from error
    for problem in problems:
        name = _name_in(references[problem.model, "serialization"])
        schemas[name] = _problem_schema(problem, schemas[name])
    titles = Counter(schema.get("title") for schema in schemas.values())
    for schema in schemas.values():
        if titles[schema.get("title")] > 1:  # generators of clients name classes by it, and leave out the second one
            schema.pop("title", None)
    return references, schemas


def _name_in(reference: Json) -> str:
    return str(reference["$ref"]).removeprefix(SCHEMAS)


def _problem_schema(problem: type[Problem], fields: Json) -> Json:
    fixed: Json = {
        "type": {"const": problem.type},
        "status": {"const": problem.status},
        "outcome": {"const": "executed"},
    }
    return fields | {
        "title": problem.__name__,
        "description": problem.title,
        "properties": _HEAD | fixed | fields.get("properties", {}),
        "required": _REQUIRED + fields.get("required", []),
    }


def _operation(call: AnyCall, references: References, schemas: dict[str, Json], names: dict[str, str]) -> Json:
    request = references[call.request, "validation"]
    words = call.topic.split(".")[:-1]
    shown = _shown(call, references, schemas)
    operation: Json = {
        "operationId": call.topic,
        "tags": [".".join(words[:-1] or words)],
        "summary": call.summary or call.topic,
        "x-busgate-topic": call.topic,
        "x-busgate-timeout": call.timeout,
        "parameters": [
            *_parameters(call, schemas[_name_in(request)], names, shown=shown),
            {"$ref": "#/components/parameters/Prefer"},
        ],
        "responses": _with_examples(_responses(call, references), shown),
    }
    if call.description:
        operation["description"] = call.description
    if body := _body(call, request, schemas):
        keys = request_fields(call).body.keys()
        content = {"schema": body} | _examples((one, _part(one.request, keys)) for one in shown if one.request)
        operation["requestBody"] = {"required": True, "content": {"application/json": content}}
    return operation


def examples_of(call: AnyCall) -> list[Shown]:
    """The examples that the document of a call shows, those that are made up among them.

    Raises:
        ContractError: a model has a type that JSON Schema cannot say.
    """
    references, schemas = _schemas(Catalog([call]))
    return _shown(call, references, schemas)


def _shown(call: AnyCall, references: References, schemas: dict[str, Json]) -> list[Shown]:
    return shown_examples(
        call,
        schemas,
        request=schemas[_name_in(references[call.request, "validation"])],
        reply=references[call.reply, "serialization"],
        problems={problem: references[problem.model, "serialization"] for problem in call.errors},
    )


def _part(value: Json, keys: Iterable[str]) -> Json:
    return {key: value[key] for key in keys if key in value}


def _examples(values: Iterable[tuple[Shown, Any]]) -> Json:
    """The member `examples` of a parameter or a body; nothing where there are none."""
    examples = {one.key: {"summary": one.title, "value": value} for one, value in values}
    return {"examples": examples} if examples else {}


def _with_examples(responses: dict[str, Json], shown: Sequence[Shown]) -> dict[str, Json]:
    for status, response in responses.items():
        for content in response.get("content", {}).values():
            content.update(_examples((one, one.answer) for one in shown if str(one.status) == status))
    return responses


def _parameters(call: AnyCall, model: Json, names: dict[str, str], *, shown: Sequence[Shown]) -> Iterator[Json]:
    fields = request_fields(call)
    places = [("path", name, names[name]) for name in call.http.variables]
    places += [("query", name, name) for name in fields.query]
    places += [("header", name, marker.name) for name, (marker, _) in fields.header.items()]
    for place, key, name in places:
        schema = dict(model["properties"][key])
        parameter: Json = {"name": name, "in": place, "required": key in model.get("required", [])}
        if "description" in schema:
            parameter["description"] = schema.pop("description")
        if schema.pop("deprecated", False):
            parameter["deprecated"] = True
        values = ((one, one.request[key]) for one in shown if one.request and key in one.request)
        yield parameter | {"schema": schema} | _examples(values)


def _body(call: AnyCall, request: Json, schemas: dict[str, Json]) -> Json | None:
    """The schema of the body: the request model, less the fields that come from elsewhere."""
    keys = request_fields(call).body.keys()
    model = schemas[_name_in(request)]
    if not keys:
        return None
    if keys == model["properties"].keys():
        return request
    body = model | {"properties": {key: model["properties"][key] for key in keys}}
    body["required"] = [key for key in model.get("required", []) if key in keys]
    if "examples" in model:
        body["examples"] = [_part(one, keys) for one in model["examples"]]
    return body


def _responses(call: AnyCall, references: References) -> dict[str, Json]:
    declared: dict[int, list[type[Problem]]] = {}
    for problem in call.errors:
        declared.setdefault(problem.status, []).append(problem)
    common = set(_COMMON) - _impossible(call)
    responses = {str(call.http.status): _success(call, references)}
    for status in sorted(common | declared.keys()):
        if status not in declared:
            responses[str(status)] = {"$ref": f"#/components/responses/{status}"}
            continue
        problems = declared[status]
        choices = [references[problem.model, "serialization"] for problem in problems]
        titles = [problem.title for problem in problems]
        if status in common:
            responses[str(status)] = _common_response(status, titles, {"anyOf": [*choices, _general()]})
        else:
            schema = choices[0] if len(choices) == 1 else {"oneOf": choices}
            responses[str(status)] = _problem_response("; ".join(titles), schema)
    return responses | {"default": _problem_response("Any other problem", _general())}


def _impossible(call: AnyCall) -> set[int]:
    """The common answers that this contract cannot give."""
    without = set() if call.http.has_body else {413, 415}
    if call.public:
        without |= {401, 403}
    elif not call.scopes:
        without |= {403}
    return without


def _success(call: AnyCall, references: References) -> Json:
    known = call.http.status in HTTPStatus._value2member_map_
    response: Json = {"description": HTTPStatus(call.http.status).phrase if known else "Success"}
    if call.http.location:
        response["headers"] = {
            "Location": {
                "description": call.http.location,
                "schema": {"type": "string", "format": "uri-reference"},
            }
        }
    if call.http.status not in (204, 205):
        response["content"] = {"application/json": {"schema": references[call.reply, "serialization"]}}
    return response


def _general() -> Json:
    return {"$ref": SCHEMAS + _PROBLEM_NAME}


def _common_response(status: int, titles: Sequence[str] = (), schema: Json | None = None) -> Json:
    response = _problem_response("; ".join([*titles, _COMMON[status]]), schema or _general())
    return response | ({"headers": {"Retry-After": _RETRY_AFTER}} if status == 503 else {})


def _problem_response(description: str, schema: Json) -> Json:
    return {"description": description, "content": {"application/problem+json": {"schema": schema}}}


def _reachable(roots: Sequence[Any], schemas: dict[str, Json]) -> set[str]:
    """The names of the schemas that something refers to."""
    found: set[str] = set()
    waiting: list[Any] = list(roots)
    while waiting:
        value = waiting.pop()
        if isinstance(value, dict):
            waiting += value.values()
        elif isinstance(value, list):
            waiting += value
        elif isinstance(value, str) and value.startswith(SCHEMAS):
            name = value.removeprefix(SCHEMAS)
            if name in schemas and name not in found:
                found.add(name)
                waiting.append(schemas[name])
    return found
