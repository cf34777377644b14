"""The tables [[edge.jwt]]: who may issue tokens, for whom, with which keys, and what they must look like."""

from typing import Self

from pydantic import Field, model_validator

from busgate.bus.tables import Names, Secret, Table, Text

from .compact import KID_LIMIT
from .keys import Algorithm, Key, KeySet, UnfitKeyError, jwks_keys, public_key, secret_key

DAY = 24 * 3600.0


class KeySettings(Table):
    """One key of an issuer, or a set of them. Exactly one of `secret`, `public_key` and `jwks`.

    Args:
        kid: the name by which tokens choose it; None is tried for tokens whose kid nothing else has.
        algorithm: HS256 for a secret (and its default), else RS256, ES256 or EdDSA. The key fixes it.
        secret: text of at least 32 bytes, for HS256.
        public_key: in PEM.
        jwks: a JWK Set as JSON (RFC 7517); it names keys and algorithms itself.
    """

    kid: str | None = Field(None, min_length=1, max_length=KID_LIMIT)
    algorithm: Algorithm | None = None
    secret: Secret | None = None
    public_key: Text | None = None
    jwks: Text | None = None

    def load(self) -> list[Key]:
        """The keys. Raises UnfitKeyError, but not once this table was validated."""
        match self.secret, self.public_key, self.jwks:
            case secret, None, None if secret is not None:
                if self.algorithm not in (None, "HS256"):
                    raise UnfitKeyError(f"{self.algorithm} needs a public_key; a secret is for HS256")
                return [secret_key(secret.get_secret_value(), kid=self.kid)]
            case None, pem, None if pem is not None:
                if self.algorithm in (None, "HS256"):
                    raise UnfitKeyError("a public_key needs its algorithm: RS256, ES256 or EdDSA")
                return [public_key(self.algorithm, pem, kid=self.kid)]
            case None, None, text if text is not None:
                if self.algorithm is not None or self.kid is not None:
                    raise UnfitKeyError("a JWK Set names kid and algorithm of its keys itself")
                return jwks_keys(text)
        raise UnfitKeyError("give exactly one of secret, public_key and jwks")

    @model_validator(mode="after")
    def _usable(self) -> Self:
        self.load()
        return self


class IssuerSettings(Table):
    """One issuer of tokens. A principal is issuer and subject together.

    Args:
        issuer: the `iss` of its tokens, exactly.
        audience: the `aud` that names us; a token for any of these is for us.
        any_audience: take tokens that were made for others. Whoever is given a user's token may then use it.
        keys: see KeySettings.
        leeway: seconds by which clocks may differ.
        max_lifetime: seconds from a token's `iat` to its `exp`; longer ones are refused.
        types: values of the `typ` header that access tokens have (RFC 9068, RFC 8725 3.11), in any case.
        untyped: take tokens without `typ`.
        scope_claim: where the scopes stand: a text with spaces between them, or a list.
        claims: names of claims that travel to the services with the caller.
        revoked: `jti` of tokens that are no longer good.
    """

    issuer: str = Field(min_length=1, max_length=512)
    audience: Names = ()
    any_audience: bool = False
    keys: tuple[KeySettings, ...]
    leeway: float = Field(30.0, ge=0, le=300)
    max_lifetime: float = Field(DAY, gt=0, le=366 * DAY)
    types: Names = ("at+jwt", "JWT")
    untyped: bool = False
    scope_claim: str = Field("scope", min_length=1)
    claims: Names = ()
    revoked: frozenset[str] = frozenset()

    def key_set(self) -> KeySet:
        """The keys that are configured."""
        return KeySet(key for settings in self.keys for key in settings.load())

    @model_validator(mode="after")
    def _safe(self) -> Self:
        if not self.audience and not self.any_audience:
            raise ValueError("name the audience that tokens must have, or set any_audience = true")
        if self.audience and self.any_audience:
            raise ValueError("audience and any_audience exclude each other")
        if "" in self.audience:
            raise ValueError("an audience cannot be empty")
        self.key_set()
        return self
