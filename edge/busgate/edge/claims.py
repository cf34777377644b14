"""From the claims of a token, whose signature holds, to the caller. What PyJWT leaves to us is checked here.

Source: RFC 7519, RFC 8725 and RFC 9068; the rows T of the list of mishandled inputs.
"""

import re
from typing import Any

from busgate.contracts import Caller

from .claim_rules import Claim, ClaimRules
from .compact import KID_LIMIT, Json, TokenRefused
from .issuers import IssuerSettings
from .verified import VerifiedCaller

SUBJECT_LIMIT = 256
"""Bytes of a subject."""

_SCOPE = re.compile(r"[\x21\x23-\x5b\x5d-\x7e]+")
"""RFC 6749, 3.3. Nothing else is ever granted: a name with a tab inside would be two to another reader."""
_THUMBPRINT = re.compile(r"[A-Za-z0-9_-]{43}")


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


def caller_of(claims: Json, rules: ClaimRules, *, issuer: str, scheme: str, now: float) -> VerifiedCaller:
    """The caller that the claims name.

    Args:
        claims: of a token that holds, `exp` and `sub` among them.
        rules: what they must say.
        issuer: who vouches for them.
        scheme: what kind of credential they stand in.
        now: epoch seconds.

    Raises:
        TokenRefused: what is wrong with them.
    """
    good_until = _check_times(claims, rules, now)
    _check_kind(claims)
    if claims.get("jti") in rules.revoked:
        raise TokenRefused("revoked")
    _check_rules(claims, rules)
    caller = Caller(
        _subject(claims),
        issuer,
        scopes_of(find_claim(claims, rules.scope_claim)),
        {name: claims[name] for name in rules.claims if name in claims},
        frozenset() if rules.role_claim is None else roles_of(find_claim(claims, rules.role_claim)),
        "" if rules.tenant_claim is None else _tenant(find_claim(claims, rules.tenant_claim)),
    )
    try:
        return VerifiedCaller(caller, good_until, scheme, certificate=_certificate(claims))
    except ValueError as error:
        raise TokenRefused("its scopes and claims are too large to travel") from error


def find_claim(claims: Json, claim: Claim) -> Any:
    """The value of a claim; an empty list where it is not there."""
    value: Any = claims
    for name in (claim,) if isinstance(claim, str) else claim:
        if not isinstance(value, dict) or name not in value:
            return []
        value = value[name]
    return value


def _check_rules(claims: Json, rules: ClaimRules) -> None:
    for name in rules.require:
        if claims.get(name) in (None, "", [], {}):
            raise TokenRefused("a claim is missing that the settings require")
    for name, values in rules.match.items():
        found = claims.get(name)
        if not any(_same(each, value) for each in (found if isinstance(found, list) else [found]) for value in values):
            raise TokenRefused("a claim has none of the values that the settings ask for")


def _same(found: Any, value: str | int | bool) -> bool:
    """Equal, and of one type: 1 is not true."""
    return type(found) is type(value) and found == value


def _check_times(claims: Json, rules: ClaimRules, now: float) -> float:
    good_until = _time(claims, "exp") + rules.leeway
    if good_until <= now:
        raise TokenRefused("expired")
    issued = _time(claims, "iat") if "iat" in claims else now
    if issued > now + rules.leeway:
        raise TokenRefused("issued in the future")
    if "nbf" in claims and _time(claims, "nbf") > now + rules.leeway:
        raise TokenRefused("not good yet")
    if _time(claims, "exp") - issued > rules.max_lifetime:
        raise TokenRefused("it lives longer than max_lifetime")
    return good_until


def _time(claims: Json, name: str) -> float:
    value = claims[name]
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TokenRefused(f"{name} is not a number")
    return value


def _check_kind(claims: Json) -> None:
    """Refuse tokens that were not made to call with: ID and refresh tokens.

    Keycloak says what a token is in a claim `typ`, Cognito in `token_use`; hashes of other tokens stand in ID
    tokens (OpenID Connect Core, 3.1.3.6).
    """
    if _media_type(claims.get("typ", "Bearer")) not in ("bearer", "at+jwt", "jwt"):
        raise TokenRefused("its typ claim is not that of an access token")
    if claims.get("token_use", "access") != "access":
        raise TokenRefused("its token_use is not access")
    if "at_hash" in claims or "c_hash" in claims:
        raise TokenRefused("an ID token")


def _certificate(claims: Json) -> str:
    """The thumbprint of the client certificate that a token is bound to (RFC 8705, 3.1); empty: it is not bound.

    Raises:
        TokenRefused: it is bound to something else (RFC 7800), whose proof we cannot check.
    """
    if "cnf" not in claims:
        return ""
    match claims["cnf"]:
        case {"x5t#S256": str(thumbprint), **others} if not others and _THUMBPRINT.fullmatch(thumbprint):
            return thumbprint
    raise TokenRefused("bound to a key whose proof cannot be checked")


def _subject(claims: Json) -> str:
    subject = claims.get("sub")
    if not isinstance(subject, str) or not subject or len(subject.encode()) > SUBJECT_LIMIT:
        raise TokenRefused("the sub is not a text of 1 to 256 bytes")
    if not subject.isprintable():
        raise TokenRefused("the sub holds control characters")
    return subject


def scopes_of(value: Any) -> frozenset[str]:
    """The scopes that a claim grants.

    Raises:
        TokenRefused: it is neither a text nor a list of texts.
    """
    return frozenset(filter(is_scope, _words(value, "scopes")))


def roles_of(value: Any) -> frozenset[str]:
    """The roles that a claim holds. Raises TokenRefused as `scopes_of`."""
    return frozenset(name for name in _words(value, "roles") if name and name.isprintable())


def _words(value: Any, what: str) -> list[str]:
    names = value.split(" ") if isinstance(value, str) else value
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise TokenRefused(f"the {what} are neither a text nor a list of texts")
    return names


def _tenant(value: Any) -> str:
    if value == []:
        raise TokenRefused("it names no tenant, and tenant_claim asks for one")
    if not isinstance(value, str) or not value or len(value.encode()) > SUBJECT_LIMIT or not value.isprintable():
        raise TokenRefused("the tenant is not a text of 1 to 256 bytes")
    return value
