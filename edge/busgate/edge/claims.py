"""From the claims of a token, whose signature holds, to the caller. What PyJWT leaves to us is checked here.

Source: RFC 7519, RFC 8725 and RFC 9068; the rows T of the list of mishandled inputs.
"""

import re
from typing import Any

from busgate.contracts import Caller

from .compact import KID_LIMIT, Json, TokenRefused
from .issuers import IssuerSettings

SUBJECT_LIMIT = 256
"""Bytes of a subject."""

_SCOPE = re.compile(r"[\x21\x23-\x5b\x5d-\x7e]+")
"""RFC 6749, 3.3. Nothing else is ever granted: a name with a tab inside would be two to another reader."""


def is_scope(name: str) -> bool:
    return _SCOPE.fullmatch(name) is not None


def check_header(header: Json, issuer: IssuerSettings) -> None:
    """Refuse tokens of another kind, and forms that we do not read.

    `jku`, `x5u`, `x5c` and `jwk` are not looked at: keys come from the settings alone.

    Raises:
        TokenRefused: what is wrong with it.
    """
    if "zip" in header or "b64" in header:
        raise TokenRefused("compressed or detached")
    kid = header.get("kid", "")
    if not isinstance(kid, str) or len(kid) > KID_LIMIT:
        raise TokenRefused("the kid is not a short text")
    if "typ" not in header:
        if not issuer.untyped:
            raise TokenRefused("it has no typ")
    elif _media_type(header["typ"]) not in map(_media_type, issuer.types):
        raise TokenRefused("this typ is not that of an access token")


def _media_type(typ: object) -> object:
    return typ.lower().removeprefix("application/") if isinstance(typ, str) else None


def caller_of(claims: Json, issuer: IssuerSettings, now: float) -> tuple[Caller, float]:
    """The caller that the claims name, and until when (epoch seconds) they are good.

    Raises:
        TokenRefused: what is wrong with them.
    """
    good_until = _check_times(claims, issuer, now)
    _check_kind(claims)
    if claims.get("jti") in issuer.revoked:
        raise TokenRefused("revoked")
    carried = {name: claims[name] for name in issuer.claims if name in claims}
    return Caller(_subject(claims), issuer.issuer, _scopes(claims.get(issuer.scope_claim, "")), carried), good_until


def _check_times(claims: Json, issuer: IssuerSettings, now: float) -> float:
    good_until = _time(claims, "exp") + issuer.leeway
    if good_until <= now:
        raise TokenRefused("expired")
    issued = _time(claims, "iat") if "iat" in claims else now
    if issued > now + issuer.leeway:
        raise TokenRefused("issued in the future")
    if "nbf" in claims and _time(claims, "nbf") > now + issuer.leeway:
        raise TokenRefused("not good yet")
    if _time(claims, "exp") - issued > issuer.max_lifetime:
        raise TokenRefused("it lives longer than max_lifetime")
    return good_until


def _time(claims: Json, name: str) -> float:
    value = claims[name]
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TokenRefused(f"{name} is not a number")
    return value


def _check_kind(claims: Json) -> None:
    """Refuse tokens that were not made to call with: ID and refresh tokens, and those bound to a key.

    Keycloak says what a token is in a claim `typ`, Cognito in `token_use`; hashes of other tokens stand in ID
    tokens (OpenID Connect Core, 3.1.3.6). A token with `cnf` (RFC 7800) is good only with a proof that we
    cannot check.
    """
    if _media_type(claims.get("typ", "Bearer")) not in ("bearer", "at+jwt", "jwt"):
        raise TokenRefused("its typ claim is not that of an access token")
    if claims.get("token_use", "access") != "access":
        raise TokenRefused("its token_use is not access")
    if "at_hash" in claims or "c_hash" in claims:
        raise TokenRefused("an ID token")
    if "cnf" in claims:
        raise TokenRefused("bound to a key whose proof cannot be checked")


def _subject(claims: Json) -> str:
    subject = claims.get("sub")
    if not isinstance(subject, str) or not subject or len(subject.encode()) > SUBJECT_LIMIT:
        raise TokenRefused("the sub is not a text of 1 to 256 bytes")
    if not subject.isprintable():
        raise TokenRefused("the sub holds control characters")
    return subject


def _scopes(value: Any) -> frozenset[str]:
    names = value.split(" ") if isinstance(value, str) else value
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise TokenRefused("the scopes are neither a text nor a list of texts")
    return frozenset(filter(is_scope, names))
