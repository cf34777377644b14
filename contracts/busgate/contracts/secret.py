"""Values that nobody should read along: marked in the model, found once, masked wherever a message is shown."""

import json
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, is_dataclass
from typing import Any, get_args, get_origin, get_type_hints

from pydantic import BaseModel, RootModel
from typing_extensions import is_typeddict

from .call import Call
from .fields import json_name

MASK = "***"


@dataclass(frozen=True, slots=True)
class Secret:
    """Marks a field whose value is not to be shown: `card: Annotated[str, Secret()]`. It travels as any other."""


def secret_paths(*models: type[BaseModel]) -> list[str]:
    """Where models have secrets: `payments/*/card`, with `*` for each item of a list or table.

    Processes announce them with their contracts, so that a tap can hide them without having the code.
    """
    return sorted({"/".join(path) for model in models for path in _paths(model, ())})


def reply_secret_paths(call: Call[Any, Any]) -> list[str]:
    """Where what answers a call has secrets: its reply, and the problems that it declares."""
    return secret_paths(call.reply, *(error.model for error in call.errors))


def _paths(annotation: Any, above: tuple[Any, ...]) -> Iterator[tuple[str, ...]]:
    if isinstance(annotation, type) and issubclass(annotation, RootModel):
        root = annotation.model_fields["root"]
        yield from [()] if _is_marked(root.metadata) else _paths(root.annotation, above)
    elif fields := _fields_of(annotation):
        if annotation in above:  # it holds itself, to any depth: all of what is below is hidden
            yield ("*",)
        else:
            yield from _paths_of(fields, (*above, annotation))
    else:
        origin = get_origin(annotation)
        many = isinstance(origin, type) and issubclass(origin, Collection)
        for argument in get_args(annotation):
            inner: Iterable[tuple[str, ...]] = [()] if isinstance(argument, Secret) else _paths(argument, above)
            yield from (("*", *path) if many else path for path in inner)


def _fields_of(annotation: Any) -> list[tuple[str, Any, Sequence[Any]]]:
    """JSON name, type and marks of each field of a model, dataclass or typed dict; none of anything else."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        fields = annotation.model_fields.items()
        return [(json_name(name, field), field.annotation, field.metadata) for name, field in fields]
    if is_dataclass(annotation) or is_typeddict(annotation):
        hints = get_type_hints(annotation, include_extras=True)
        return [(name, hint, getattr(hint, "__metadata__", ())) for name, hint in hints.items()]
    return []


def _paths_of(fields: list[tuple[str, Any, Sequence[Any]]], above: tuple[Any, ...]) -> Iterator[tuple[str, ...]]:
    for name, annotation, marks in fields:
        key = name.replace("~", "~0").replace("/", "~1")  # as in a JSON pointer
        if _is_marked(marks):
            yield (key,)
        else:
            yield from ((key, *path) for path in _paths(annotation, above))


def _is_marked(marks: Iterable[Any]) -> bool:
    return any(isinstance(mark, Secret) for mark in marks)


def shown(body: bytes, paths: Iterable[str] | None) -> Any:
    """A body as a JSON value to be looked at, with MASK in place of what stands at the paths; None for no body.

    Without paths nobody knows what is secret, and every value is masked.
    """
    if not body:
        return None
    try:
        value = json.loads(body)
    except (ValueError, RecursionError):
        return f"({len(body)} bytes that are not JSON)"
    if paths is None:
        return _masked(value, ["*"] if isinstance(value, (dict, list)) else [])
    for path in paths:
        value = _masked(value, path.split("/") if path else [])
    return value


def _masked(value: Any, path: list[str]) -> Any:
    if not path:
        return MASK
    key, rest = path[0].replace("~1", "/").replace("~0", "~"), path[1:]
    if isinstance(value, dict):
        return {name: _masked(item, rest) if key in ("*", name) else item for name, item in value.items()}
    if isinstance(value, list) and key == "*":
        return [_masked(item, rest) for item in value]
    return value
