"""What was wrong with a request, as the `errors` of its problem document: places and rules, never values.

A place in the body is a JSON pointer (RFC 6901, as a URI fragment, like RFC 9457 shows it); a place outside
the body is named as OpenAPI names a parameter:

    {"pointer": "#/lines/0/sku", "detail": "Field required"}
    {"in": "query", "name": "limit", "detail": "Input should be less than or equal to 100"}
"""

from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from pydantic import ValidationError

ERRORS_LIMIT = 20
"""Errors that one answer lists."""
COUNT_LIMIT = 1000
"""Errors over which none is worked out: pydantic makes an object for each of them."""

UNKNOWN_PARAMETER = "This parameter is not known"

_FROM_THE_CONTRACT = frozenset(
    {
        "actual_length",
        "class_name",
        "decimal_places",
        "discriminator",
        "expected",
        "expected_plural",
        "expected_schemes",
        "expected_tags",
        "expected_version",
        "field_type",
        "ge",
        "gt",
        "le",
        "lt",
        "max_digits",
        "max_length",
        "min_length",
        "multiple_of",
        "pattern",
        "tz_expected",
        "whole_digits",
    }
)
"""What pydantic fills its messages with and is no part of the input."""
_FIXED_WORDS = frozenset(
    {
        "date_from_datetime_parsing",
        "date_parsing",
        "datetime_from_date_parsing",
        "datetime_parsing",
        "time_delta_parsing",
        "time_parsing",
    }
)
"""Error types whose free text is one of a few fixed sentences."""


def errors_of(error: ValidationError, body: Any, parameters: Mapping[str, dict[str, str]]) -> list[dict[str, str]]:
    """List what a validation found, at most ERRORS_LIMIT.

    Args:
        error: of a validation of the whole request.
        body: parsed, to tell its members from the words that pydantic puts between them (branches of unions).
        parameters: the fields that come from elsewhere, with `in` and `name`.
    """
    if error.error_count() > COUNT_LIMIT:
        return [{"pointer": "#", "detail": f"{error.error_count()} errors"}]
    found = []
    for item in error.errors(include_url=False, include_input=False):
        location = item["loc"]
        place = parameters.get(str(location[0])) if location else None
        if place is None:
            place = {"pointer": _pointer(location, body, missing=item["type"] == "missing")}
        entry = place | {"detail": detail_of(item)}
        if entry not in found:
            found.append(entry)
        if len(found) == ERRORS_LIMIT:
            break
    return found


def detail_of(item: Mapping[str, Any]) -> str:
    """Pydantic's message, where all that it was filled with comes from the contract, not the input."""
    if item["type"] == "model_type":
        return "Input should be an object"
    if item["type"] in _FIXED_WORDS or item.get("ctx", {}).keys() <= _FROM_THE_CONTRACT:
        return str(item["msg"])
    return f"Input is not valid ({item['type']})"


def told_in_records(error: Mapping[str, str]) -> str:
    """An error without names that are the client's text: members of a body, and parameters that no contract knows."""
    if "name" in error and error["detail"] != UNKNOWN_PARAMETER:
        return f"{error['name']}: {error['detail']}"
    return error["detail"]


def pointer(*names: str) -> str:
    """The JSON pointer of a member, as a URI fragment."""
    escaped = (name.replace("~", "~0").replace("/", "~1") for name in names)
    return "#" + "".join("/" + quote(name, safe="~!$&'()*+,;=:@") for name in escaped)


def _pointer(location: tuple[int | str, ...], value: Any, *, missing: bool) -> str:
    names = []
    for index, step in enumerate(location, start=1):
        if _leads_on(value, step):
            value = value[step]
        elif not (missing and index == len(location)):
            continue
        names.append(str(step))
    return pointer(*names)


def _leads_on(value: Any, step: int | str) -> bool:
    if isinstance(value, dict):
        return step in value
    return isinstance(value, list) and step in range(len(value))
