"""The caller: who was authenticated at the edge, as it travels with every call."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

CALLER_LIMIT = 4096
"""Bytes of the `caller` header; a broker closes the connection at a header block over its frame_max."""


@dataclass(frozen=True, slots=True)
class Caller:
    """An authenticated principal. Two callers are the same when issuer and subject are."""

    subject: str
    issuer: str = ""
    scopes: frozenset[str] = field(default=frozenset(), compare=False)
    claims: Mapping[str, Any] = field(default_factory=dict, compare=False)

    def to_json(self) -> bytes:
        """The `caller` header.

        Raises:
            ValueError: it would be longer than CALLER_LIMIT.
        """
        document = {"sub": self.subject, "iss": self.issuer, "scope": " ".join(sorted(self.scopes))}
        if self.claims:
            document["claims"] = dict(self.claims)  # type: ignore[assignment]
        text = json.dumps(document, separators=(",", ":"), allow_nan=False).encode()
        if len(text) > CALLER_LIMIT:
            raise ValueError(f"the claims of the caller take {len(text)} bytes; {CALLER_LIMIT} travel")
        return text

    @classmethod
    def from_json(cls, text: str | bytes) -> "Caller":
        """Read a `caller` header.

        Raises:
            ValueError: it is not one.
        """
        if len(text) > CALLER_LIMIT:
            raise ValueError("not a caller: too long")
        try:
            document = json.loads(text, parse_constant=_refuse)
        except RecursionError:
            raise ValueError("not a caller: nested too deeply") from None
        match document:
            case {"sub": str(subject)}:
                issuer, scope, claims = (
                    document.get("iss", ""),
                    document.get("scope", ""),
                    document.get("claims", {}),
                )
                if isinstance(issuer, str) and isinstance(scope, str) and isinstance(claims, dict):
                    return cls(subject, issuer, frozenset(scope.split()), claims)
        raise ValueError("not a caller: an object with a string `sub` is needed")


def _refuse(constant: str) -> None:
    raise ValueError(f"not a caller: {constant} is not JSON")
