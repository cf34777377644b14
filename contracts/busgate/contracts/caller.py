"""The caller: who was authenticated at the edge, as it travels with every call."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

CALLER_LIMIT = 4096
"""Bytes of the `caller` header; a broker closes the connection at a header block over its frame_max."""


@dataclass(frozen=True, slots=True)
class Caller:
    """An authenticated principal. Two callers are the same when issuer and subject are.

    Args:
        subject: its name, unique for its issuer.
        issuer: who vouches for it.
        scopes: what it was granted.
        claims: what else its credential says, as far as the edge lets it through.
        roles: what it is; rules of the edge may ask for them.
        tenant: on whose behalf it acts, where several share one bus; empty: nobody's.
    """

    subject: str
    issuer: str = ""
    scopes: frozenset[str] = field(default=frozenset(), compare=False)
    claims: Mapping[str, Any] = field(default_factory=dict, compare=False)
    roles: frozenset[str] = field(default=frozenset(), compare=False)
    tenant: str = field(default="", compare=False)

    def to_json(self) -> bytes:
        """The `caller` header.

        Raises:
            ValueError: it would be longer than CALLER_LIMIT.
        """
        document: dict[str, Any] = {
            "sub": self.subject,
            "iss": self.issuer,
            "scope": " ".join(sorted(self.scopes)),
        }
        if self.roles:
            document["roles"] = sorted(self.roles)
        if self.tenant:
            document["tenant"] = self.tenant
        if self.claims:
            document["claims"] = dict(self.claims)
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
        if not isinstance(document, dict):
            raise ValueError("not a caller: not an object")  # noqa: TRY004 - one kind of error for every bad document
        try:
            read = _Document.model_validate(document)
        except ValidationError as error:
            where = error.errors()[0]
            raise ValueError(f"not a caller: {'.'.join(map(str, where['loc']))}: {where['msg']}") from None
        return cls(read.sub, read.iss, frozenset(read.scope.split()), read.claims, frozenset(read.roles), read.tenant)


class _Document(BaseModel):
    model_config = ConfigDict(strict=True)

    sub: str
    iss: str = ""
    scope: str = ""
    claims: dict[str, Any] = {}
    roles: list[str] = []
    tenant: str = ""


def _refuse(constant: str) -> None:
    raise ValueError(f"not a caller: {constant} is not JSON")
