"""What tokens must say, and where in them scopes, roles and tenants stand: the same for signed and for opaque ones."""

from typing import Annotated, Self

from pydantic import Field, model_validator

from busgate.bus.tables import Names, Table

DAY = 24 * 3600.0

_ClaimName = Annotated[str, Field(min_length=1)]
Claim = _ClaimName | Annotated[tuple[_ClaimName, ...], Field(min_length=1)]
"""A claim by its name, or by the names that lead into it. Names hold dots and slashes, so a path is a list."""


class ClaimRules(Table):
    """The rules for the tokens of one issuer.

    Args:
        audience: the `aud` that names us; a token for any of these is for us.
        any_audience: take tokens that were made for others. Whoever is given a user's token may then use it.
        leeway: seconds by which clocks may differ.
        max_lifetime: seconds from a token's `iat` to its `exp`; longer ones are refused.
        scope_claim: where the scopes stand: a text with spaces between them, or a list. The name of a claim, or a list
            of names that lead into it, like `["realm_access", "roles"]`.
        role_claim: where the roles stand, in the same forms; without it callers have none.
        tenant_claim: where the tenant stands, a text; without it callers have none. A token without it is refused.
        require: names of claims that a token must have, beside `iss`, `sub` and `exp`.
        match: values that claims must have, like `{ azp = ["web", "app"] }`: one of these, or a list that holds one.
        claims: names of claims that travel to the services with the caller.
        revoked: `jti` of tokens that are no longer good.
    """

    audience: Names = ()
    any_audience: bool = False
    leeway: float = Field(30.0, ge=0, le=300)
    max_lifetime: float = Field(DAY, gt=0, le=366 * DAY)
    scope_claim: Claim = "scope"
    role_claim: Claim | None = None
    tenant_claim: Claim | None = None
    require: Names = ()
    match: dict[str, tuple[str | int | bool, ...]] = Field(default_factory=dict)
    claims: Names = ()
    revoked: frozenset[str] = frozenset()

    @model_validator(mode="after")
    def _safe(self) -> Self:
        if not self.audience and not self.any_audience:
            raise ValueError("name the audience that tokens must have, or set any_audience = true")
        if self.audience and self.any_audience:
            raise ValueError("audience and any_audience exclude each other")
        if "" in self.audience:
            raise ValueError("an audience cannot be empty")
        if empty := [name for name, values in self.match.items() if not values]:
            raise ValueError(f"match: no value of {empty[0]} is allowed")
        return self
