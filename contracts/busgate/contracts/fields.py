"""Where each field of a request comes from, worked out once per contract and refused where it cannot work."""

from dataclasses import dataclass
from typing import Any, get_args

from pydantic import AliasChoices, AliasPath, BaseModel, SecretBytes, SecretStr
from pydantic.fields import FieldInfo

from .call import Call, ContractError
from .http import Header, segments_of


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


def check_fields(call: Call[Any, Any]) -> None:
    """Refuse a contract whose fields cannot be filled, or would not survive the way over the bus.

    Raises:
        ContractError: names the contract and the field.
    """
    for side, model in (("request", call.request), ("reply", call.reply)):
        if not _is_model(model):
            raise ContractError(f"contract {call.topic}: {side} is a pydantic model, not {model!r}")
        _check_model(call, side, model, seen=set())
    fields = request_fields(call)
    for variable in call.http.variables:
        if variable not in fields.path:
            raise ContractError(f"contract {call.topic}: the path variable {{{variable}}} is not a field of {call.request.__name__}")
        if not fields.path[variable].is_required():
            raise ContractError(f"contract {call.topic}: the path variable {{{variable}}} must be a required field")
    for key, field in fields.query.items():
        if not _fits_a_string(field.annotation):
            raise ContractError(
                f"contract {call.topic}: nothing can fill the field {key!r}: a {call.http.method} takes it from the "
                "query, and an object does not fit there"
            )
    if call.http.location:
        names = {json_name(name, field) for name, field in call.reply.model_fields.items()}
        for _, variable in segments_of(call.http.location):
            if variable and variable not in names:
                raise ContractError(f"contract {call.topic}: location names {{{variable}}}, which {call.reply.__name__} does not have")
    if call.http.status == 204 and call.reply.model_fields:
        raise ContractError(f"contract {call.topic}: a 204 has no body; use reply=Nothing or another status")


def _is_model(value: object) -> bool:
    return isinstance(value, type) and issubclass(value, BaseModel)


def _check_model(call: Call[Any, Any], side: str, model: type[BaseModel], *, seen: set[type[BaseModel]]) -> None:
    if model in seen:
        return
    seen.add(model)
    for name, field in model.model_fields.items():
        place = f"contract {call.topic}: {side} field {model.__name__}.{name}"
        if field.exclude:
            raise ContractError(f"{place} is excluded from JSON and would never arrive")
        alias = field.validation_alias
        if isinstance(alias, (AliasPath, AliasChoices)) or (alias or name) != (field.serialization_alias or name):
            raise ContractError(f"{place} is read and written under different names; use one plain alias")
        for inner in _types_in(field.annotation):
            if issubclass(inner, (SecretStr, SecretBytes)):
                raise ContractError(f"{place} is a {inner.__name__}, which JSON would mask; use a plain type")
            if issubclass(inner, BaseModel):
                _check_model(call, side, inner, seen=seen)


def _types_in(annotation: Any) -> list[type]:
    arguments = get_args(annotation)
    if arguments:
        return [inner for argument in arguments for inner in _types_in(argument)]
    return [annotation] if isinstance(annotation, type) else []


def _fits_a_string(annotation: Any) -> bool:
    return not any(issubclass(inner, (BaseModel, dict)) for inner in _types_in(annotation)) and not _is_mapping(annotation)


def _is_mapping(annotation: Any) -> bool:
    origin = getattr(annotation, "__origin__", None)
    return isinstance(origin, type) and issubclass(origin, dict)
