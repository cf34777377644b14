"""The compact form of a signed JWT, read strictly, before any signature is checked.

No padding, no spare bits, no member twice, UTF-8, finite numbers, a size limit: so no two readers can see two
things in one token. What it says is not to be believed yet: `tokens` checks the signature.
"""

import base64
import binascii
import json
import re
from typing import Any, NoReturn

from .verified import CredentialRefused

TOKEN_LIMIT = 8192
"""Bytes of a token. A token of 1 MB costs 75 ms to refuse when its size is not looked at first."""

KID_LIMIT = 128

_COMPACT = re.compile(r"([A-Za-z0-9_-]+)\.([A-Za-z0-9_-]+)\.([A-Za-z0-9_-]+)")

Json = dict[str, Any]


class TokenRefused(CredentialRefused):
    """A token that proves nothing. The reason is ours, for the operator: it holds no text of the token."""


def read_compact(token: str) -> tuple[Json, Json]:
    """The header and the claims of a token.

    Raises:
        TokenRefused: it is not a JWS in compact form, or could be read in two ways.
    """
    header, claims = read_parts(token)
    return header, read_object(claims)


def read_parts(token: str) -> tuple[Json, bytes]:
    """The header and the payload of a JWS in compact form, whatever that is.

    Raises:
        TokenRefused: it is none, or could be read in two ways.
    """
    if len(token) > TOKEN_LIMIT:
        raise TokenRefused("longer than 8192 bytes")
    segments = _COMPACT.fullmatch(token)
    if segments is None:
        raise TokenRefused("not three parts of base64url")
    header, payload, _ = (_decode(segment) for segment in segments.groups())
    return read_object(header), payload


def read_object(text: bytes) -> Json:
    """Read a JSON object that every reader reads alike.

    Raises:
        TokenRefused: a member stands twice, a number is not finite, a text is not Unicode, it is no object.
    """
    try:
        value = json.loads(text.decode(), object_pairs_hook=_no_duplicates, parse_constant=_not_finite)
        json.dumps(value, ensure_ascii=False, allow_nan=False).encode()  # finds 1e400 and lone surrogates
    except (ValueError, RecursionError):
        raise TokenRefused("not JSON that every reader reads alike") from None
    if not isinstance(value, dict):
        raise TokenRefused("not a JSON object")
    return value


def _decode(segment: str) -> bytes:
    try:
        decoded = base64.urlsafe_b64decode(segment + "=" * (-len(segment) % 4))
    except binascii.Error:
        raise TokenRefused("not base64url") from None
    if base64.urlsafe_b64encode(decoded).rstrip(b"=") != segment.encode():
        raise TokenRefused("base64url with spare bits")
    return decoded


def _no_duplicates(pairs: list[tuple[str, Any]]) -> Json:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise ValueError("a member stands twice")
    return members


def _not_finite(name: str) -> NoReturn:
    raise ValueError(name)
