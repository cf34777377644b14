"""Who calls, and whether they may: from the Authorization header to a caller, from a contract to a check.

All refusals of a token look alike from outside (RFC 6750). The reason is the `__cause__` of the Refusal, for
the record of the request.
"""

from collections.abc import Callable
from typing import Any

from busgate.contracts import Call

from .compact import TokenRefused
from .refusal import FORBIDDEN, UNAUTHENTICATED, Refusal
from .tokens import TokenVerifier, VerifiedCaller

_CHALLENGE = 'Bearer realm="busgate"'
_ASK = (("WWW-Authenticate", _CHALLENGE),)
_INVALID = (("WWW-Authenticate", f'{_CHALLENGE}, error="invalid_token"'),)


def authenticate(verifier: TokenVerifier, authorization: str | bytes | None) -> VerifiedCaller:
    """The caller that the value of an Authorization header proves.

    The front door has refused requests with two of them. The scheme is read in any case, one space follows.

    Raises:
        Refusal: UNAUTHENTICATED.
    """
    if isinstance(authorization, bytes):
        authorization = authorization.decode("latin-1")
    scheme, _, token = (authorization or "").partition(" ")
    if not token or scheme.lower() != "bearer":
        raise Refusal(UNAUTHENTICATED, headers=_ASK)
    try:
        return verifier.verify(token)
    except TokenRefused as error:
        raise Refusal(UNAUTHENTICATED, headers=_INVALID) from error


def authoriser(call: Call[Any, Any]) -> Callable[[VerifiedCaller], None] | None:
    """The check that a caller may use a contract, made once; None where the contract asks for no scopes.

    The check raises Refusal FORBIDDEN. Scopes are compared exactly, and all of them must be granted.
    """
    required = frozenset(call.scopes)
    if not required:
        return None
    challenge = f'{_CHALLENGE}, error="insufficient_scope", scope="{" ".join(sorted(required))}"'
    headers = (("WWW-Authenticate", challenge),)

    def authorise(caller: VerifiedCaller) -> None:
        if not required <= caller.scopes:
            raise Refusal(FORBIDDEN, headers=headers)

    return authorise
