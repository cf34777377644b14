"""Every value that busgate.toml can have, read off the models: type, default, range, environment name, meaning.

The meaning is what the docstring of the model says under `Args:`.
"""

import inspect
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from annotated_types import MaxLen, MinLen
from pydantic import BaseModel, SecretStr
from pydantic.fields import FieldInfo

from busgate.bus.tables import Kind

from .config import PREFIX, KeyPath
from .config_faults import TABLES, range_of, table_of

_ARGUMENT = re.compile(r"^ {4}(\w+): (.*(?:\n {8}.*)*)", re.MULTILINE)
_PLAIN = {bool: "boolean", int: "integer", float: "number", str: "text", SecretStr: "secret", Path: "file"}


class _Required(Enum):
    NO_DEFAULT = "required"


@dataclass(frozen=True, slots=True)
class Value:
    """One key of a table."""

    key: str
    kind: str
    default: str
    allowed: str
    environ: str
    meaning: str


@dataclass(frozen=True, slots=True)
class Reference:
    """One table of the file: its heading as it stands there, what it is for, its values."""

    heading: str
    about: str
    values: tuple[Value, ...]


def references(model: type[BaseModel]) -> Iterator[Reference]:
    """All tables below a model of the whole file, outer ones first."""
    for name in TABLES:
        table = table_of(model.model_fields[name].annotation)
        if table is not None:
            yield from _table(table, (name,), many=False, in_list=False)


def meanings(model: type[BaseModel]) -> dict[str, str]:
    """What the docstrings of a model, and of those that it builds on, say of each field."""
    said: dict[str, str] = {}
    for each in reversed(model.__mro__):
        text = inspect.cleandoc(each.__doc__ or "").partition("Args:\n")[2]
        said |= {name: " ".join(meaning.split()) for name, meaning in _ARGUMENT.findall(text)}
    return said


def leaves(table: BaseModel, path: KeyPath = ()) -> Iterator[tuple[KeyPath, object]]:
    """All values below a table that are no tables themselves."""
    for name in type(table).model_fields:
        value = getattr(table, name)
        inner = value if isinstance(value, tuple) else ()
        if isinstance(value, BaseModel):
            yield from leaves(value, (*path, name))
        elif inner and isinstance(inner[0], BaseModel):
            for number, each in enumerate(inner):
                yield from leaves(each, (*path, name, number))
        else:
            yield (*path, name), value


def literal(value: object) -> str:
    """A value as TOML."""
    match value:
        case SecretStr():
            return literal(value.get_secret_value())
        case tuple() | list() | frozenset():
            return f"[{', '.join(map(literal, value))}]"
        case dict():
            return f"{{ {', '.join(f'{key} = {literal(each)}' for key, each in value.items())} }}"
        case float() if value == int(value):
            return str(int(value))
        case Path():
            return literal(str(value))
        case datetime():
            return value.isoformat()
        case _:
            return json.dumps(value, ensure_ascii=False)


def _table(model: type[BaseModel], path: tuple[str, ...], *, many: bool, in_list: bool) -> Iterator[Reference]:
    about = inspect.cleandoc(model.__doc__ or "").partition("\n\n")[0]
    told = meanings(model)
    values, inner = [], []
    for name, field in model.model_fields.items():
        here = (*path, name)
        table = table_of(field.annotation)
        if table is None or _is_list(field):
            environ = "" if in_list or many else PREFIX + "__".join(here).upper()
            values.append(_value(name, field, environ=environ, meaning=told[name]))
        if table is not None:
            inner.append((table, here, _is_list(field)))
    dotted = ".".join(path)
    yield Reference(f"[[{dotted}]]" if many else f"[{dotted}]", " ".join(about.split()), tuple(values))
    for table, here, listed in inner:
        yield from _table(table, here, many=listed, in_list=many or in_list)


def _value(name: str, field: FieldInfo, *, environ: str, meaning: str) -> Value:
    value = field.get_default(call_default_factory=True)
    default = _Required.NO_DEFAULT.value if field.is_required() else _default(value)
    return Value(name, _kind(field), default, _allowed(field), environ, meaning)


def _default(value: object) -> str:
    if isinstance(value, tuple) and len(value) == 1:
        return literal(value[0])  # one text stands for a list of one
    return "none" if value is None else literal(value)


def _is_list(field: FieldInfo) -> bool:
    return get_origin(field.annotation) is tuple


def _kind(field: FieldInfo) -> str:
    named = [rule.name for rule in field.metadata if isinstance(rule, Kind)]
    return named[0] if named else _kind_of(field.annotation)


def _kind_of(annotation: Any) -> str:
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        named = [rule.name for rule in annotation.__metadata__ if isinstance(rule, Kind)]
        return named[0] if named else _kind_of(arguments[0])
    if origin in (Union, UnionType):
        return next(_kind_of(each) for each in arguments if each is not type(None))
    if origin in (tuple, frozenset):
        return f"list of {'tables' if table_of(annotation) else _kind_of(arguments[0])}"
    if origin is dict:
        return "table"
    if origin is Literal:
        return "text"
    return _PLAIN[annotation]


def _allowed(field: FieldInfo) -> str:
    words = [each for each in get_args(field.annotation) if get_origin(field.annotation) is Literal]
    for each in get_args(field.annotation):
        words += get_args(each) if get_origin(each) is Literal else ()
    if words:
        return ", ".join(map(literal, words))
    if numbers := range_of(field):
        return numbers
    low = next((rule.min_length for rule in field.metadata if isinstance(rule, MinLen)), None)
    high = next((rule.max_length for rule in field.metadata if isinstance(rule, MaxLen)), None)
    if high is not None:
        return f"{low or 0} to {high} characters"
    return "not empty" if low else ""
