"""What is wrong with a value of the configuration, in words for an operator.

Only numbers, switches and words from a list are shown as they stand: no secret is any of these.
"""

import json
from difflib import get_close_matches
from types import UnionType
from typing import Any, Union, get_args, get_origin

from annotated_types import Ge, Gt, Le
from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

TABLES = ("bus", "edge", "log", "worker")
"""All tables of the file. A process reads those that its model has and leaves the others alone."""

_SHOWN = 40
_KINDS = {
    "dict": "a table",
    "frozen_set": "a list",
    "model": "a table",
    "path": "the path of a file",
    "string": "text",
    "tuple": "a list",
}


def dotted(path: tuple[str | int, ...]) -> str:
    """The name of a key: `edge.jwt[0].issuer`."""
    text = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path)
    return text.removeprefix(".")


def describe(fault: ErrorDetails, model: type[BaseModel]) -> str:
    """What a value must be, or what to do."""
    match fault["type"]:
        case "extra_forbidden":
            return _unknown(fault["loc"], model)
        case "missing":
            return "is missing"
        case "value_error":
            return str(fault["ctx"]["error"])
        case "too_short" | "string_too_short":
            return "must not be empty"
        case kind:
            return _wrong(kind, fault, _range(field_at(model, fault["loc"])))


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
            table = _table_of(field.annotation) if field else None
    return field


def _table_of(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    if get_origin(annotation) in (tuple, Union, UnionType):
        return next(filter(None, map(_table_of, get_args(annotation))), None)
    return None


def _unknown(path: tuple[str | int, ...], model: type[BaseModel]) -> str:
    parent, name = path[:-1], str(path[-1])
    field = field_at(model, parent)
    table = _table_of(field.annotation) if field else model
    known = TABLES if not parent else sorted(table.model_fields) if table else ()
    close = get_close_matches(name, known, n=1)
    if close:
        return f"is unknown; did you mean {dotted((*parent, close[0]))}?"
    return f"is unknown; known are {', '.join(known)}"


def _range(field: FieldInfo | None) -> str | None:
    if field is None or not isinstance(field.annotation, type) or not issubclass(field.annotation, int | float):
        return None
    low = high = separator = None
    for rule in field.metadata:
        match rule:
            case Ge(ge=bound):
                low, separator = _number(bound), " to "
            case Gt(gt=bound):
                low, separator = f"more than {_number(bound)}", ", at most "
            case Le(le=bound):
                high = _number(bound)
    return f"{low}{separator}{high}" if low and high else None


def _number(bound: Any) -> str:
    return str(int(bound) if bound == int(bound) else bound)


def _shown(value: object) -> str:
    """The wrong value, where it is short and plain."""
    if not isinstance(value, str | int | float):
        return ""
    text = json.dumps(value)
    return f" (is {text if len(text) <= _SHOWN else text[:_SHOWN] + '...'})"
