"""Who calls: from the credentials of a request to one caller.

A request presents credentials of any schemes that are configured. All of them must hold and name one caller, and one
of them must be of a scheme that the contract takes: never "either". All refusals look alike from outside
(RFC 6750); the reason is the `__cause__` of the Refusal, for the record of the request.
"""

from collections.abc import Awaitable, Callable, Collection, Iterable, Sequence
from functools import partial

from .exchange import Exchange, Step
from .later import Later
from .refusal import UNAUTHENTICATED, Refusal
from .schemes import Scheme
from .verified import CredentialRefused, VerifiedCaller

Headers = tuple[tuple[str, str], ...]

_NONE = CredentialRefused("no credential of a kind that is configured")
"""One for all: a flood of requests without any should cost little."""


def authentication(schemes: Sequence[Scheme], accepted: Collection[str]) -> Step:
    """The step that finds the caller of a contract.

    Args:
        schemes: all that are configured.
        accepted: names of those that the contract takes.

    The step raises Refusal UNAUTHENTICATED.
    """
    return _Authentication(schemes, frozenset(accepted))


def refuser(schemes: Sequence[Scheme], accepted: Collection[str]) -> Callable[[], Refusal]:
    """Makes the Refusal of a credential that does not hold: the same for all that a contract takes."""
    headers = _headers(scheme.refusal for scheme in schemes if not scheme.names.isdisjoint(accepted))
    return lambda: Refusal(UNAUTHENTICATED, headers=headers)


class _Authentication:
    def __init__(self, schemes: Sequence[Scheme], accepted: frozenset[str]) -> None:
        taken = [scheme for scheme in schemes if scheme.names & accepted]
        self._schemes = tuple(schemes)
        self._accepted = accepted
        self._challenge = _headers(scheme.challenge for scheme in taken)
        self._refuse = refuser(schemes, accepted)

    def __call__(self, exchange: Exchange) -> Awaitable[None] | None:
        presented = [scheme for scheme in self._schemes if scheme.presented(exchange)]
        if len(presented) != 1:
            return self._several(exchange, presented)
        try:
            found = presented[0].verify(exchange)
        except CredentialRefused as error:
            raise self._refuse() from error
        if not isinstance(found, VerifiedCaller):
            return Later(partial(self._wait, exchange, found))
        self._check_taken(found)
        exchange.caller = found
        return None

    async def _wait(self, exchange: Exchange, wait: Awaitable[VerifiedCaller]) -> None:
        try:
            found = await wait
        except CredentialRefused as error:
            raise self._refuse() from error
        self._check_taken(found)
        exchange.caller = found

    def _check_taken(self, *found: VerifiedCaller) -> None:
        """One is of a scheme that the contract takes. Raises Refusal."""
        if all(each.scheme not in self._accepted for each in found):
            presented = " and ".join(each.scheme for each in found)
            taken = ", ".join(sorted(self._accepted))
            raise self._refuse() from CredentialRefused(f"the contract takes {taken}, not {presented}")

    def _several(self, exchange: Exchange, presented: Sequence[Scheme]) -> Awaitable[None]:
        if not presented:
            raise Refusal(UNAUTHENTICATED, headers=self._challenge) from _NONE
        return Later(partial(self._agree, exchange, presented))

    async def _agree(self, exchange: Exchange, presented: Sequence[Scheme]) -> None:
        """Verify all, though the first may do: whoever adds a credential means it."""
        callers = []
        for scheme in presented:
            try:
                found = scheme.verify(exchange)
                callers.append(found if isinstance(found, VerifiedCaller) else await found)
            except CredentialRefused as error:
                raise self._refuse() from error
        tenants = {each.caller.tenant for each in callers if each.caller.tenant}
        if len(tenants) > 1 or any(each.caller != callers[0].caller for each in callers):
            raise self._refuse() from CredentialRefused("two credentials name different callers, or tenants")
        self._check_taken(*callers)
        exchange.caller = next(each for each in callers if each.scheme in self._accepted)


def _headers(challenges: Iterable[str]) -> Headers:
    return tuple(("WWW-Authenticate", each) for each in challenges if each)
