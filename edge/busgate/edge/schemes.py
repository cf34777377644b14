"""What a scheme of authentication is: it sees whether a request presents a credential of its kind, and verifies it."""

from collections.abc import Awaitable
from typing import Protocol

from .exchange import Exchange
from .verified import VerifiedCaller


class Scheme(Protocol):
    """One kind of credential. Made once; `presented` runs for every request that needs a caller.

    Attributes:
        names: how contracts and settings name it; several where one header carries several kinds.
        challenge: for `WWW-Authenticate`, how to present one (RFC 9110, 11.6.1); empty where there is no such way.
        refusal: the same, for who presented one that does not hold.
    """

    names: frozenset[str]
    challenge: str
    refusal: str

    def presented(self, exchange: Exchange) -> bool:
        """Whether the head of the request holds one, good or not."""

    def verify(self, exchange: Exchange) -> VerifiedCaller | Awaitable[VerifiedCaller]:
        """Who presents it. Called for requests that do.

        Raises:
            CredentialRefused: it proves nothing, and why.
            Refusal: nobody can tell now.
        """
