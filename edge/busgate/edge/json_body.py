"""The strict front parser: JSON that cannot mean two things to two readers, or it is refused.

`pydantic_core.from_json` is strict about grammar, UTF-8 and surrogates, and fast. It takes the last of
duplicate keys, turns `1e400` into infinity, and bounds neither keys nor numbers; that is checked here, first
cheaply, and exactly only where the cheap check leaves a doubt.
"""

import json
import math
from collections.abc import Iterable, Iterator
from itertools import chain
from typing import Any

from pydantic_core import from_json

from .refusal import BAD_REQUEST, INVALID, Refusal

DEPTH_LIMIT = 64
"""Objects and arrays inside each other, the outermost included."""
KEY_LIMIT = 256
"""Characters of a key."""
DIGITS_LIMIT = 255
"""Digits in a row in a number. A double has 17, and Python's conversion of long integers is quadratic."""

_PLAIN_LENGTH = 128
"""A body up to this length is too short to break any limit above (depth 65 takes 130 bytes)."""
_DIGITS_TO_ZERO = bytes.maketrans(b"123456789E", b"000000000e")
_TOO_MANY_DIGITS = b"0" * (DIGITS_LIMIT + 1)
_COLONS = (b'":', b" :", b"\t:", b"\n:", b"\r:")


def parse_object(data: bytes) -> dict[str, Any]:
    """Parse a body that is a JSON object.

    Raises:
        Refusal: BAD_REQUEST where it is not JSON, or not unambiguous; INVALID where it is not an object, or
            a string holds U+0000, which many readers cut strings at.
    """
    try:
        value = from_json(data, allow_inf_nan=False)
    except ValueError as error:  # its messages are fixed words and a position
        raise Refusal(BAD_REQUEST, f"the body is not JSON: {error}") from None
    if type(value) is not dict:
        raise Refusal(INVALID, errors=[{"pointer": "#", "detail": "Input should be an object"}])
    zeroed = data.translate(_DIGITS_TO_ZERO)
    if (
        len(data) > _PLAIN_LENGTH
        or data.count(b":") != len(value)  # equal: a colon for each key, so no duplicate, nothing nested
        or b"0e" in zeroed  # a number with an exponent, or a word like it
        or b"\\" in data
    ):
        _inspect(data, value, zeroed)
    return value


def is_finite(data: bytes) -> bool:
    """Whether no number in this JSON text is NaN, infinite, or too large for a double."""
    if b"0e" not in data.translate(_DIGITS_TO_ZERO) and b"NaN" not in data and b"Infinity" not in data:
        return True
    try:
        return not any(map(_has_infinity, _levels(from_json(data, allow_inf_nan=False))))
    except ValueError:
        return False


def _inspect(data: bytes, value: dict[str, Any], zeroed: bytes) -> None:
    names: set[str] = set()
    keys = _survey(value, 1, names)
    if len(data) > KEY_LIMIT and max(map(len, names), default=0) > KEY_LIMIT:
        raise Refusal(BAD_REQUEST, f"a key in the body is longer than {KEY_LIMIT} characters")
    if b"0e" in zeroed and any(map(_has_infinity, _levels(value))):
        raise Refusal(BAD_REQUEST, "a number in the body is too large")
    if _TOO_MANY_DIGITS in zeroed or _may_repeat_a_key(data, keys):
        _read_again(data)
    if b"\\u0000" in data and (_has_nul(names) or any(map(_has_nul, _levels(value)))):
        raise Refusal(INVALID, errors=[{"pointer": "#", "detail": "A string holds U+0000"}])


def _survey(value: Any, depth: int, names: set[str]) -> int:
    """Count the keys in an object or array and all inside it, and collect their names."""
    if depth > DEPTH_LIMIT:
        raise Refusal(BAD_REQUEST, f"the body is nested deeper than {DEPTH_LIMIT}")
    keys = 0
    if type(value) is dict:
        keys = len(value)
        names.update(value)
        value = value.values()
    for item in value:
        if type(item) is dict or type(item) is list:
            keys += _survey(item, depth + 1, names)
    return keys


def _levels(value: Any) -> Iterator[list[Any]]:
    """The values at depth 0, 1, 2, ..."""
    level = [value]
    while level:
        yield level
        inner: list[Iterable[Any]] = [item.values() for item in level if type(item) is dict]
        inner += [item for item in level if type(item) is list]
        level = list(chain.from_iterable(inner))


def _has_infinity(values: Iterable[Any]) -> bool:
    return math.inf in values or -math.inf in values


def _has_nul(values: Iterable[Any]) -> bool:
    return any(type(value) is str and "\0" in value for value in values)


def _may_repeat_a_key(data: bytes, keys: int) -> bool:
    """Whether there may be more keys in the text than in the parsed value.

    A key ends in a quote, white space or none, and a colon. Colons inside strings only add, so a count equal
    to the number of keys is proof. The second count leaves out times and addresses in strings.
    """
    return data.count(b":") != keys and sum(map(data.count, _COLONS)) != keys


def _read_again(data: bytes) -> None:
    json.loads(data.decode(), object_pairs_hook=_refuse_duplicates, parse_int=_bounded, parse_float=_bounded)


def _refuse_duplicates(pairs: list[tuple[str, Any]]) -> None:
    if len({name for name, _ in pairs}) != len(pairs):
        raise Refusal(BAD_REQUEST, "a key stands twice in one object of the body")


def _bounded(number: str) -> int:
    if len(number) > DIGITS_LIMIT and _TOO_MANY_DIGITS in number.encode().translate(_DIGITS_TO_ZERO):
        raise Refusal(BAD_REQUEST, f"a number in the body has more than {DIGITS_LIMIT} digits in a row")
    return 0
