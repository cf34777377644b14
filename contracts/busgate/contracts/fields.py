"""Where each field of a request comes from, worked out once per contract and refused where it cannot work."""

from collections.abc import Collection, Iterable, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from types import UnionType
from typing import Any, Union, get_args, get_origin

from pydantic import AliasChoices, AliasPath, BaseModel, RootModel, SecretBytes, SecretStr
from pydantic.errors import PydanticUserError
from pydantic.fields import FieldInfo

from .call import Call, ContractError
from .http import Header, segments_of

_MANY = frozenset({list, set, frozenset, tuple, Sequence, AbstractSet, Collection, Iterable})


@dataclass(frozen=True, slots=True)
class RequestFields:
    """The JSON names of a request's fields by where they come from, each with its pydantic field."""

    path: dict[str, FieldInfo]
    header: dict[str, tuple[Header, FieldInfo]]
    query: dict[str, FieldInfo]
    body: dict[str, FieldInfo]


def json_name(name: str, field: FieldInfo) -> str:
    """The name of a field in JSON: its alias where it has one."""
    return field.serialization_alias or name


def request_fields(call: Call[Any, Any]) -> RequestFields:
    """Sort the fields of a request into path, header, query (GET, DELETE) and body (POST, PUT, PATCH)."""
    fields = RequestFields({}, {}, {}, {})
    variables = set(call.http.variables)
    rest = fields.body if call.http.has_body else fields.query
    for name, field in call.request.model_fields.items():
        key = json_name(name, field)
        marker = next((item for item in field.metadata if isinstance(item, Header)), None)
        if key in variables:
            fields.path[key] = field
        elif marker is not None:
            fields.header[key] = (marker, field)
        else:
            rest[key] = field
    return fields


def holds_many(annotation: Any) -> bool:
    """Whether a field takes several values of one parameter: a list, set, tuple, or one of these or None."""
    if annotation in _MANY or get_origin(annotation) in _MANY:
        return True
    return get_origin(annotation) in (Union, UnionType) and any(map(holds_many, get_args(annotation)))


def check_fields(call: Call[Any, Any]) -> None:
    """Refuse a contract whose fields cannot be filled, or would not survive the way over the bus.

    Raises:
        ContractError: names the contract and the field.
    """
    for side, model in (("request", call.request), ("reply", call.reply)):
        if not _is_model(model):
            raise ContractError(f"contract {call.topic}: {side} is a pydantic model, not {model!r}")
        _complete(model, f"contract {call.topic}: {side}")
        _check_model(model, f"contract {call.topic}: {side} field", seen=set())
    if issubclass(call.request, RootModel):
        raise ContractError(f"contract {call.topic}: request is a model with named fields, not a RootModel")
    _check_sources(call)
    _check_success(call)


def _complete(model: type[BaseModel], where: str) -> None:
    """Resolve what was declared before its types were."""
    try:
        model.model_rebuild()
    except (NameError, PydanticUserError) as error:
        raise ContractError(f"{where} {model.__name__} is not complete: {error}") from error


def _is_model(value: object) -> bool:
    return isinstance(value, type) and issubclass(value, BaseModel)


def _check_sources(call: Call[Any, Any]) -> None:
    fields = request_fields(call)
    for variable in call.http.variables:
        where = f"contract {call.topic}: the path variable {{{variable}}}"
        if variable not in fields.path:
            raise ContractError(f"{where} is not a field of {call.request.__name__}")
        if not fields.path[variable].is_required():
            raise ContractError(f"{where} must be a required field")
        if holds_many(fields.path[variable].annotation):
            raise ContractError(f"{where} is one value, not a list")
    headers = {key: field for key, (_, field) in fields.header.items()}
    for source, group in (("path", fields.path), ("query", fields.query), ("header", headers)):
        for key, field in group.items():
            if any(issubclass(inner, (BaseModel, dict)) for inner in _types_in(field.annotation)):
                raise ContractError(
                    f"contract {call.topic}: nothing can fill the field {key!r}: it comes from the {source}, "
                    "and an object does not fit there"
                )


def _check_success(call: Call[Any, Any]) -> None:
    if call.http.location:
        names = {json_name(name, field) for name, field in call.reply.model_fields.items()}
        for _, variable in segments_of(call.http.location):
            if variable and variable not in names:
                raise ContractError(
                    f"contract {call.topic}: location names {{{variable}}}, which {call.reply.__name__} does not have"
                )
    if call.http.status in (204, 205) and call.reply.model_fields:
        raise ContractError(
            f"contract {call.topic}: a {call.http.status} has no body; use reply=Nothing or another status"
        )


def _check_model(model: type[BaseModel], where: str, *, seen: set[type[BaseModel]]) -> None:
    if model in seen:
        return
    seen.add(model)
    for name, field in model.model_fields.items():
        place = f"{where} {model.__name__}.{name}"
        if field.exclude:
            raise ContractError(f"{place} is excluded from JSON and would never arrive")
        alias = field.validation_alias
        if isinstance(alias, (AliasPath, AliasChoices)) or (alias or name) != json_name(name, field):
            raise ContractError(f"{place} is read and written under different names; use one plain alias")
        for inner in _types_in(field.annotation):
            if issubclass(inner, (SecretStr, SecretBytes)):
                raise ContractError(f"{place} is a {inner.__name__}, which JSON would mask; use a plain type")
            if issubclass(inner, BaseModel):
                _check_model(inner, where, seen=seen)


def _types_in(annotation: Any) -> list[type]:
    """The classes an annotation is made of: `dict[str, Order] | None` is dict, str, Order and NoneType."""
    found = [inner for argument in get_args(annotation) for inner in _types_in(argument)]
    outer = get_origin(annotation) or annotation
    return [outer, *found] if isinstance(outer, type) else found
