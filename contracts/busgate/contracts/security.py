"""How callers prove who they are, as an API document says it."""

from collections.abc import Callable, Collection
from dataclasses import dataclass

from .catalog import AnyCall, Catalog
from .sample import Json

KEY_HEADER = "X-Api-Key"

_BEARER: Json = {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"}
_SIGNATURE: Json = {
    "type": "http",
    "scheme": "signature",
    "description": "HTTP Message Signatures (RFC 9421) in `Signature-Input` and `Signature`, with `Content-Digest` "
    "(RFC 9530) wherever there is a body.",
}
_NAMES = {
    "jwt": "bearer",
    "introspection": "bearer",
    "key": "apiKey",
    "signature": "signature",
    "certificate": "certificate",
}
"""The names that a document has for the schemes of an edge. Of `pre-call` it says nothing: that may be anything."""


def schemes_of_contract(call: AnyCall) -> Collection[str]:
    """What a contract takes where nobody knows what the edge has: what it names, or tokens."""
    return frozenset(call.schemes) or {"jwt"}


@dataclass(frozen=True, slots=True)
class Doors:
    """What an edge takes.

    Args:
        schemes: the names of the schemes of a contract.
        key_header: what an API key comes in.
    """

    schemes: Callable[[AnyCall], Collection[str]] = schemes_of_contract
    key_header: str = KEY_HEADER

    def of(self, call: AnyCall) -> list[Json]:
        """The member `security` of an operation: any of these will do, with these scopes."""
        return [] if call.public else [{name: sorted(call.scopes)} for name in self._names(call)]

    def all(self, catalog: Catalog) -> Json:
        """The member `securitySchemes`: all that some operation takes."""
        known: Json = {
            "bearer": _BEARER,
            "apiKey": {"type": "apiKey", "in": "header", "name": self.key_header},
            "signature": _SIGNATURE,
            "certificate": {"type": "mutualTLS"},
        }
        taken = {name for call in catalog if not call.public for name in self._names(call)}
        return {name: scheme for name, scheme in known.items() if name in taken}

    def _names(self, call: AnyCall) -> list[str]:
        schemes = self.schemes(call)
        names = dict.fromkeys(name for scheme, name in _NAMES.items() if scheme in schemes)
        return list(names) or ["bearer"]  # an empty list would say that everybody may


DEFAULT_DOORS = Doors()
