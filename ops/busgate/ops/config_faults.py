"""What is wrong with a value of the configuration, in words for an operator.

Only numbers, switches and words from a list are shown as they stand: no secret is any of these.
"""

import json
from difflib import get_close_matches
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin

from annotated_types import Ge, Gt, Le
from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

TABLES = ("bus", "edge", "log", "tracing", "worker")
"""All tables of the file. A process reads those that its model has and leaves the others alone."""

_SHOWN = 40
_LISTS = ("frozen_set_type", "tuple_type")
_KINDS = {
    "frozen_set": "a list",
    "path": "the path of a file",
    "string": "text",
    "tuple": "a list",
}


def dotted(path: tuple[str | int, ...]) -> str:
    """The name of a key: `edge.jwt[0].issuer`."""
    text = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path)
    return text.removeprefix(".")


def causes(faults: list[ErrorDetails]) -> list[ErrorDetails]:
    """All but lists that are called too short for the very elements that have faults of their own."""
    places = [fault["loc"] for fault in faults]

    def follows(fault: ErrorDetails) -> bool:
        path = fault["loc"]
        return fault["type"] == "too_short" and any(at != path and at[: len(path)] == path for at in places)

    return [fault for fault in faults if not follows(fault)]


def describe(fault: ErrorDetails, model: type[BaseModel], *, as_json: bool) -> str:
    """What a value must be, or what to do. `as_json`: lists and tables are written so where it comes from."""
    path = fault["loc"]
    field = field_at(model, path)
    match fault["type"]:
        case "extra_forbidden":
            return _unknown(path, model)
        case "missing":
            return "is missing"
        case "value_error":
            return str(fault["ctx"]["error"])
        case "too_short" | "string_too_short":
            return "must not be empty"
        case "tuple_type" if field and table_of(field.annotation):
            return f"must be a list of tables{', as JSON' if as_json else f': write [[{dotted(path)}]]'}"
        case "model_type" | "model_attributes_type":
            return f"must be a table{', as JSON' if as_json else f': write [{dotted(path)}]'}"
        case kind:
            return _wrong(kind, fault, range_of(field)) + (", as JSON" if as_json and kind in _LISTS else "")


def _wrong(kind: str, fault: ErrorDetails, allowed: str | None) -> str:
    if kind == "literal_error":
        allowed = fault["ctx"]["expected"]
    elif allowed is None and kind.startswith("bool"):
        allowed = "true or false"
    if allowed is not None:
        return f"must be {allowed}{_shown(fault['input'])}"
    expected = _KINDS.get(kind.rpartition("_")[0])
    return f"must be {expected}" if expected else fault["msg"]


def field_at(model: type[BaseModel], path: tuple[str | int, ...]) -> FieldInfo | None:
    """The field of a model that a path leads to, through tables and lists of tables."""
    table: type[BaseModel] | None = model
    field = None
    for part in path:
        if isinstance(part, str):
            field = table.model_fields.get(part) if table else None
            table = table_of(field.annotation) if field else None
    return field


def table_of(annotation: Any) -> type[BaseModel] | None:
    """The model of a table, or of the tables in a list; None: it is neither."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    if get_origin(annotation) in (tuple, Union, UnionType):
        return next(filter(None, map(table_of, get_args(annotation))), None)
    return None


def _unknown(path: tuple[str | int, ...], model: type[BaseModel]) -> str:
    parent, name = path[:-1], str(path[-1])
    field = field_at(model, parent)
    table = table_of(field.annotation) if field else model
    known = TABLES if not parent else sorted(table.model_fields) if table else ()
    close = get_close_matches(name, known, n=1)
    if close:
        return f"is unknown; did you mean {dotted((*parent, close[0]))}?"
    return f"is unknown; known are {', '.join(known)}"


def range_of(field: FieldInfo | None) -> str | None:
    """The numbers that a field may be."""
    kind, rules = _number_rules(field)
    if kind not in (int, float):
        return None
    low = high = separator = None
    for rule in rules:
        match rule:
            case Ge(ge=bound):
                low, separator = _number(bound), " to "
            case Gt(gt=bound):
                low, separator = f"more than {_number(bound)}", ", at most "
            case Le(le=bound):
                high = _number(bound)
    return f"{low}{separator}{high}" if low and high else None


def _number_rules(field: FieldInfo | None) -> tuple[Any, list[Any]]:
    """The type of a field and its rules; of one that may be left out, those of what it is else."""
    if field is None:
        return None, []
    kind, rules = field.annotation, list(field.metadata)
    if get_origin(kind) in (Union, UnionType):
        kind = next(each for each in get_args(kind) if each is not type(None))
    if get_origin(kind) is Annotated:
        kind, *more = get_args(kind)
        rules += [rule for each in more for rule in (each.metadata if isinstance(each, FieldInfo) else [each])]
    return kind, rules


def _number(bound: Any) -> str:
    return str(int(bound) if bound == int(bound) else bound)


def _shown(value: object) -> str:
    """The wrong value, where it is short and plain."""
    if not isinstance(value, str | int | float):
        return ""
    text = json.dumps(value)
    return f" (is {text if len(text) <= _SHOWN else text[:_SHOWN] + '...'})"
