"""A plausible value for a JSON schema, always the same one: the example of whoever gave none.

It fits the schema as far as a schema can be followed without search: an odd pattern or a rule across fields is
beyond it, so whoever shows a sample as an example checks it first.
"""

import math
import re
from collections.abc import Collection, Mapping
from typing import Any

Json = dict[str, Any]

SCHEMAS = "#/components/schemas/"
"""What references start with."""

_DEEPEST = 5
"""Levels of named schemas; below that, what can be left out is left out, or samples of some models never end."""
_TEXTS = {
    "date": "2025-01-31",
    "date-time": "2025-01-31T12:00:00Z",
    "duration": "PT1H",
    "email": "name@example.com",
    "hostname": "host.example.com",
    "ipv4": "192.0.2.1",
    "ipv6": "2001:db8::1",
    "time": "12:00:00",
    "uri": "https://example.com/",
    "uuid": "6a1f8c1e-2b3d-4c5e-8f90-123456789abc",
    "uuid4": "6a1f8c1e-2b3d-4c5e-8f90-123456789abc",
}
_TRIED = ("string", "text", "STRING", "A", "a", "1", "12", "A-1", "a-1", "A1", "AB", "EUR", "0123456789", "2025-01-31")
"""What is tried against a pattern."""


def sample(schema: Json, schemas: Mapping[str, Json]) -> Any:
    """A value for a schema whose references lead into `schemas`."""
    return _sample(schema, schemas, ())


def sample_members(schema: Json, schemas: Mapping[str, Json], names: Collection[str], *, some: bool = False) -> Json:
    """Values for these properties of an object, less those that need not be there and show nothing of their own.

    `some`: rather all than none.
    """
    chosen = _worth_showing(schema, names) or (list(names) if some else [])
    return {name: sample(schema["properties"][name], schemas) for name in chosen}


def _worth_showing(schema: Json, names: Collection[str]) -> list[str]:
    required = schema.get("required", ())
    return [name for name in names if name in required or "examples" in schema["properties"][name]]


def _sample(schema: Json, schemas: Mapping[str, Json], inside: tuple[str, ...]) -> Any:
    if "$ref" in schema:
        name = schema["$ref"].removeprefix(SCHEMAS)
        if len(inside) > 2 * _DEEPEST:  # a model that cannot end
            return None
        return _sample(schemas[name], schemas, (*inside, name))
    if schema.get("examples"):
        return schema["examples"][0]
    if "const" in schema:
        return schema["const"]
    if schema.get("default") is not None:
        return schema["default"]
    if "enum" in schema:
        return schema["enum"][0]
    for choice in ("anyOf", "oneOf"):
        if choice in schema:
            return _sample(_choose(schema[choice], inside), schemas, inside)
    match schema.get("type"):
        case "object":
            return _object(schema, schemas, inside)
        case "array":
            return _array(schema, schemas, inside)
        case "string":
            return _text(schema)
        case "integer" | "number" as kind:
            return _number(schema, whole=kind == "integer")
        case "boolean":
            return True
        case "null":
            return None
    return {} if "properties" in schema else "string"


def _choose(choices: list[Json], inside: tuple[str, ...]) -> Json:
    """The first that is something, but none that leads back to where we are."""
    null = [one for one in choices if one.get("type") == "null"]
    forward = [one for one in choices if one not in null and not _leads_back(one, inside)]
    return (forward or null or choices)[0]


def _leads_back(schema: Json, inside: tuple[str, ...]) -> bool:
    name = schema.get("$ref", "").removeprefix(SCHEMAS)
    return bool(name) and (name in inside or len(inside) >= _DEEPEST)


def _object(schema: Json, schemas: Mapping[str, Json], inside: tuple[str, ...]) -> Json:
    properties = schema.get("properties", {})
    names = _worth_showing(schema, properties) or list(properties)
    names = [name for name in names if not _leads_back(properties[name], inside)]
    value = {name: _sample(properties[name], schemas, inside) for name in names}
    more = schema.get("additionalProperties")
    if not properties and isinstance(more, dict) and not _leads_back(more, inside):
        value["key"] = _sample(more, schemas, inside)
    return value


def _array(schema: Json, schemas: Mapping[str, Json], inside: tuple[str, ...]) -> list[Any]:
    value = [_sample(one, schemas, inside) for one in schema.get("prefixItems", ())]
    items = schema.get("items")
    if isinstance(items, dict) and not value and not _leads_back(items, inside):
        value = [_sample(items, schemas, inside)] * max(1, min(schema.get("minItems", 1), 10))
    return value[: schema.get("maxItems", len(value))]


def _text(schema: Json) -> str:
    if schema.get("format") in _TEXTS:
        return _TEXTS[schema["format"]]
    least, most = schema.get("minLength", 0), schema.get("maxLength", math.inf)
    texts = [text for text in _TRIED if least <= len(text) <= most] or ["s" * least]
    try:
        return next((text for text in texts if re.search(schema.get("pattern", ""), text)), texts[0])
    except re.error:  # pydantic's patterns are Rust's
        return texts[0]


def _number(schema: Json, *, whole: bool) -> float:
    step = schema.get("multipleOf", 1)
    low = max(schema.get("minimum", -math.inf), schema.get("exclusiveMinimum", -math.inf))
    high = min(schema.get("maximum", math.inf), schema.get("exclusiveMaximum", math.inf))
    tried: list[float] = [1]
    if low > -math.inf:
        first = math.ceil(low / step) * step
        tried += [first, first + step]
    if high < math.inf:
        last = math.floor(high / step) * step
        tried += [last, last - step]
    if not whole and "multipleOf" not in schema:
        tried.append((low + high) / 2)
    return next((number for number in tried if _is_within(number, schema)), tried[-1])


def _is_within(number: float, schema: Json) -> bool:
    bounds = ("minimum", "exclusiveMinimum", "maximum", "exclusiveMaximum")
    least, above, most, below = (schema.get(name) for name in bounds)
    return (
        (least is None or number >= least)
        and (above is None or number > above)
        and (most is None or number <= most)
        and (below is None or number < below)
        and ("multipleOf" not in schema or number % schema["multipleOf"] == 0)
    )
