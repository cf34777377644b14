"""The request target: one reading of the path and of the query, or a refusal; never a guess.

The path is decoded once, here. Whatever could mean another path to another reader (`//`, `/../`, `%2F`,
control characters, bytes that are not UTF-8, in raw or decoded form) is refused, so that the decoded path has
the same segments as the raw one.
"""

import re
from urllib.parse import unquote_to_bytes

from .refusal import BAD_REQUEST, Refusal

QUERY_PAIRS_LIMIT = 256

# No escapes, no empty and no dotted segment: what nearly every request looks like.
_PLAIN = re.compile(
    r"((?:/[A-Za-z0-9_~!$&'()*+,;=:@-][A-Za-z0-9._~!$&'()*+,;=:@-]*)+/?|/)"
    r"(?:\?([A-Za-z0-9._~!$&'()*+,;=:@/?-]*))?"
)
_RAW_PATH = re.compile(r"/(?:[A-Za-z0-9._~!$&'()*+,;=:@/-]|%[0-9A-Fa-f]{2})*")
# Browsers leave some characters raw in a query that RFC 3986 wants escaped; they are harmless there.
_RAW_QUERY = re.compile(r"(?:[!\"$&'()*+,./0-9:;<=>?@A-Z\[\\\]^_`a-z{|}~-]|%[0-9A-Fa-f]{2})*")
_ABSOLUTE = re.compile(r"https?://([^/?#]+)([/?].*)?", re.IGNORECASE)
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")


def split_target(target: str, host: bytes) -> tuple[str, str]:
    """The decoded path and the raw query of a request target, origin-form or absolute-form.

    Raises:
        Refusal: it is neither, has two readings, or names another authority than the `Host` header.
    """
    if plain := _PLAIN.fullmatch(target):
        return plain[1], plain[2] or ""
    if not target.startswith("/"):
        target = origin_form(target, host)
    raw_path, _, query = target.partition("?")
    if not _RAW_QUERY.fullmatch(query):
        raise Refusal(BAD_REQUEST, "the query has a character or an escape that is not valid")
    return decode_path(raw_path), query


def origin_form(target: str, host: bytes) -> str:
    """Path and query of a target in absolute-form. Raises Refusal as `split_target`."""
    absolute = _ABSOLUTE.fullmatch(target)
    if absolute is None:
        raise Refusal(BAD_REQUEST, "the request target is not a path", close=True)
    if absolute[1].lower() != host.decode("latin-1").lower():
        raise Refusal(BAD_REQUEST, "the request target and the Host header name two hosts", close=True)
    rest = absolute[2] or "/"
    return rest if rest.startswith("/") else "/" + rest


def decode_path(raw: str) -> str:
    """Decode a raw path once.

    Raises:
        Refusal: it has two readings, or an escape that is not one.
    """
    if not _RAW_PATH.fullmatch(raw):
        raise Refusal(BAD_REQUEST, "the path has a character or an escape that is not valid")
    try:
        path = unquote_to_bytes(raw).decode()
    except UnicodeDecodeError:
        raise Refusal(BAD_REQUEST, "the path is not UTF-8") from None
    if _CONTROL.search(path) or path.count("/") != raw.count("/"):
        raise Refusal(BAD_REQUEST, "the path has an escaped slash or control character")
    segments = path[1:].split("/")
    if "." in segments or ".." in segments or "" in segments[:-1]:
        raise Refusal(BAD_REQUEST, "the path has an empty or a dotted segment")
    return path


def query_pairs(query: str) -> list[tuple[str, str]]:
    """The pairs of a raw query in order, decoded; repeated names are for the contract to judge.

    Raises:
        Refusal: an escape is not one, the text is not UTF-8 or holds NUL, or there are too many pairs.
    """
    if not query:
        return []
    if query.count("&") >= QUERY_PAIRS_LIMIT:
        raise Refusal(BAD_REQUEST, f"the query has more than {QUERY_PAIRS_LIMIT} pairs")
    pairs = (pair.partition("=") for pair in query.split("&") if pair)
    return [(_decode_form(name), _decode_form(value)) for name, _, value in pairs]


def _decode_form(text: str) -> str:
    if "%" not in text:
        return text.replace("+", " ")
    if not _RAW_QUERY.fullmatch(text):
        raise Refusal(BAD_REQUEST, "the query has an escape that is not valid")
    try:
        decoded = unquote_to_bytes(text.replace("+", " ")).decode()
    except UnicodeDecodeError:
        raise Refusal(BAD_REQUEST, "the query is not UTF-8") from None
    if "\0" in decoded:
        raise Refusal(BAD_REQUEST, "the query has a NUL")
    return decoded
