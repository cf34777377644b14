"""Who a credential of our own making is for: what a key stands for is written down here, not in the credential."""

from typing import Annotated

from pydantic import AfterValidator, Field

from busgate.bus.tables import Names, Table
from busgate.contracts import Caller

from .claims import SUBJECT_LIMIT, is_scope
from .verified import VerifiedCaller

ISSUER = "busgate"
"""Who vouches for callers that the operator names."""


def _scopes(names: tuple[str, ...]) -> tuple[str, ...]:
    for name in names:
        if not is_scope(name):
            raise ValueError(f"{name!r} is not a scope (RFC 6749, 3.3)")
    return names


def _printable(text: str) -> str:
    if not text.isprintable() or len(text.encode()) > SUBJECT_LIMIT:
        raise ValueError(f"must be printable, and at most {SUBJECT_LIMIT} bytes long")
    return text


Name = Annotated[str, AfterValidator(_printable)]


class Grant(Table):
    """A caller and what it was granted.

    Args:
        subject: its name.
        issuer: who vouches for it. A caller is issuer and subject together.
        scopes: what it may do.
        roles: what it is.
        tenant: on whose behalf it acts; empty: nobody's.
    """

    subject: Annotated[Name, Field(min_length=1)]
    issuer: Name = ISSUER
    scopes: Annotated[Names, AfterValidator(_scopes)] = ()
    roles: Names = ()
    tenant: Name = ""

    def verified(self, scheme: str, expires: float, *, credential: str, plan: str = "") -> VerifiedCaller:
        """The caller of a credential that holds; see VerifiedCaller.

        Raises:
            ValueError: all that was granted is too large to travel.
        """
        caller = Caller(
            self.subject,
            self.issuer,
            frozenset(self.scopes),
            roles=frozenset(self.roles),
            tenant=self.tenant,
        )
        return VerifiedCaller(caller, expires, scheme, credential=credential, plan=plan)
