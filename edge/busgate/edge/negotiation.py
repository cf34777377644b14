"""Media types: what a request carries and what its sender takes. Both are `application/json` only."""

import re

from .refusal import BAD_REQUEST, NOT_ACCEPTABLE, UNSUPPORTED_MEDIA_TYPE, Refusal

CONTENT_TYPE_LIMIT = 256
ACCEPT_LIMIT = 4096
"""Characters of the field; with them the work of reading it is bounded."""

_WORD = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_QUOTED = r'"(?:[^"\\\x00-\x08\x0a-\x1f\x7f]|\\[\t -~])*+"'
_PARAMETER = re.compile(rf"[ \t]*+;[ \t]*+(?:({_WORD})=({_WORD}|{_QUOTED}))?+")
_RANGE = re.compile(rf"[ \t]*+({_WORD}/{_WORD})")
_SEPARATOR = re.compile(r"[ \t]*+(?:,|$)")
_WEIGHT = re.compile(r"0(\.[0-9]{0,3})?|1(\.0{0,3})?")
_UTF_8 = ("utf-8", "utf8")
_PREFERENCE = {"application/json": 2, "application/*": 1, "*/*": 0}


def check_content_type(value: str | None) -> None:
    """Make sure that a body is JSON in UTF-8; parameters other than `charset` mean nothing.

    Raises:
        Refusal: UNSUPPORTED_MEDIA_TYPE where it is not, BAD_REQUEST where the field cannot be read.
    """
    if value == "application/json":
        return
    if value is None:
        raise Refusal(UNSUPPORTED_MEDIA_TYPE)
    if len(value) > CONTENT_TYPE_LIMIT:
        raise Refusal(BAD_REQUEST, "Content-Type is too long")
    media_type, parameters, end = _read(value, 0)
    if media_type is None or value[end:].strip(" \t"):
        raise Refusal(BAD_REQUEST, "Content-Type cannot be read")
    charsets = [text for name, text in parameters if name == "charset"]
    if len(charsets) > 1:
        raise Refusal(BAD_REQUEST, "Content-Type has two charsets")
    if media_type != "application/json" or any(text.strip('"').lower() not in _UTF_8 for text in charsets):
        raise Refusal(UNSUPPORTED_MEDIA_TYPE)


def check_accept(value: str | None) -> None:
    """Make sure that the client takes JSON. The most specific range decides (RFC 9110, 12.5.1).

    Raises:
        Refusal: NOT_ACCEPTABLE where it does not, BAD_REQUEST where the field cannot be read.
    """
    if value is None or value in ("*/*", "application/json"):
        return
    if len(value) > ACCEPT_LIMIT:
        raise Refusal(BAD_REQUEST, "Accept is too long")
    best, acceptable = -1, False
    for media_range, weight in ranges_of(value):
        preference = _PREFERENCE.get(media_range, -1)
        if preference > best:
            best, acceptable = preference, weight > 0
        elif preference == best >= 0:
            acceptable = acceptable or weight > 0
    if not acceptable and value.strip(" \t,"):
        raise Refusal(NOT_ACCEPTABLE)


def ranges_of(value: str) -> list[tuple[str, float]]:
    """The ranges of an `Accept` with their weights, in order.

    Raises:
        Refusal: BAD_REQUEST, where the field cannot be read.
    """
    ranges = []
    at = 0
    while at < len(value):
        media_range, parameters, end = _read(value, at)
        separator = _SEPARATOR.match(value, end)
        weights = [text for name, text in parameters if name == "q"]
        if separator is None or len(weights) > 1 or not all(map(_WEIGHT.fullmatch, weights)):
            raise Refusal(BAD_REQUEST, "Accept cannot be read")
        if media_range is not None:  # an empty element of the list means nothing
            ranges.append((media_range, float(weights[0]) if weights else 1.0))
        at = separator.end()
    return ranges


def _read(value: str, at: int) -> tuple[str | None, list[tuple[str, str]], int]:
    """A media type or range in lower case with its parameters, and where it ends; None: there is none."""
    head = _RANGE.match(value, at)
    if head is None:
        return None, [], at
    parameters = []
    end = head.end()
    while part := _PARAMETER.match(value, end):
        end = part.end()
        if part[1]:
            parameters.append((part[1].lower(), part[2]))
    return head[1].lower(), parameters, end
