"""Tokens for a demo and for development: an issuer whose secret never leaves the processes of one command."""

import secrets
import time
from dataclasses import dataclass, field

import jwt

from busgate.contracts import Catalog

HOURS = 12


@dataclass(frozen=True, slots=True)
class Signer:
    """Issues the tokens of one command. Its secret is new each time and only in the memory of its processes.

    Args:
        issuer: the `iss` of its tokens.
        audience: their `aud`.
        subject: their `sub`: who calls.
    """

    issuer: str
    audience: str
    subject: str
    secret: str = field(default_factory=lambda: secrets.token_urlsafe(32), repr=False)

    @property
    def table(self) -> dict[str, object]:
        """As a table [[edge.jwt]]."""
        return {"issuer": self.issuer, "audience": [self.audience], "keys": [{"secret": self.secret}]}

    def token(self, catalog: Catalog) -> str:
        """A token that may do all that the contracts know, for some hours."""
        now = int(time.time())
        claims = {
            "iss": self.issuer,
            "aud": self.audience,
            "sub": self.subject,
            "iat": now,
            "exp": now + HOURS * 3600,
            "scope": " ".join(scopes_of(catalog)),
        }
        return jwt.encode(claims, self.secret, "HS256")


def scopes_of(catalog: Catalog) -> list[str]:
    """All scopes that contracts ask for."""
    return sorted({scope for call in catalog for scope in call.scopes})
