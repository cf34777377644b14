"""The tables [[edge.jwt]]: who may issue tokens, for whom, with which keys, and what they must look like."""

import ssl
from typing import Annotated, Self

from pydantic import AfterValidator, Field, model_validator

from busgate.bus.tables import Names, PublicFile, Secret, Table, Text, is_loopback, split_web_url

from .claim_rules import DAY, ClaimRules
from .compact import KID_LIMIT
from .keys import (
    PUBLIC_ALGORITHMS,
    Algorithm,
    Key,
    KeySet,
    PublicAlgorithm,
    UnfitKeyError,
    jwks_keys,
    public_key,
    secret_key,
)

_SOURCES = ("secret", "public_key", "jwks", "jwks_url")
_ONLY_FOR = {
    "kid": ("secret", "public_key"),
    "algorithm": ("secret", "public_key"),
    "algorithms": ("jwks", "jwks_url"),
    "refresh": ("jwks_url",),
    "keep": ("jwks_url",),
    "cafile": ("jwks_url",),
}


def safe_url(text: str) -> str:
    """The address of a server whose word lets callers in.

    Raises:
        ValueError: it is none, or not by https beyond this machine.
    """
    url = split_web_url(text)
    if url.scheme != "https" and not is_loopback(url.hostname or ""):
        raise ValueError("by https:// alone, beyond this machine: whoever changes the answers can let callers in")
    return text


class KeySettings(Table):
    """A table [[edge.jwt.keys]]: a key, or a set. Exactly one of `secret`, `public_key`, `jwks` and `jwks_url`.

    Args:
        kid: the name by which tokens choose it; one without is tried for tokens whose kid nothing else has.
        algorithm: HS256 for a secret (and its default), else RS256, ES256 or EdDSA. The key fixes it.
        secret: text of at least 32 bytes, for HS256.
        public_key: in PEM.
        jwks: a JWK Set as JSON (RFC 7517); it names keys and algorithms itself.
        jwks_url: where the issuer publishes its JWK Set, by https; http on this machine only. Redirects are
            not followed.
        algorithms: of a JWK Set, the keys that count; those for other algorithms are left out.
        refresh: seconds from one look at `jwks_url` to the next, at most. The max-age of the answer may shorten
            it, down to 30 s. So long may a key that was withdrawn still be good.
        keep: seconds that keys from `jwks_url` are used when no look at it succeeds any more.
        cafile: PEM of the authorities that may vouch for the host of `jwks_url`; without it, those of the system.
    """

    kid: str | None = Field(None, min_length=1, max_length=KID_LIMIT)
    algorithm: Algorithm | None = None
    secret: Secret | None = None
    public_key: Text | None = None
    jwks: Text | None = None
    jwks_url: Annotated[str, AfterValidator(safe_url)] | None = None
    algorithms: tuple[PublicAlgorithm, ...] = Field(PUBLIC_ALGORITHMS, min_length=1)
    refresh: float = Field(300.0, ge=30, le=DAY)
    keep: float = Field(DAY, ge=0, le=30 * DAY)
    cafile: PublicFile | None = None

    def load(self) -> list[Key]:
        """The keys that stand here; none for a URL. Raises UnfitKeyError, but not once this table was validated."""
        if self.secret is not None:
            if self.algorithm not in (None, "HS256"):
                raise UnfitKeyError(f"{self.algorithm} needs a public_key; a secret is for HS256")
            return [secret_key(self.secret.get_secret_value(), kid=self.kid)]
        if self.public_key is not None:
            if self.algorithm in (None, "HS256"):
                raise UnfitKeyError("a public_key needs its algorithm: RS256, ES256 or EdDSA")
            return [public_key(self.algorithm, self.public_key, kid=self.kid)]
        return [] if self.jwks is None else jwks_keys(self.jwks, algorithms=self.algorithms)

    def tls(self) -> ssl.SSLContext:
        """How the host of `jwks_url` is made sure of. Raises UnfitKeyError, but not once this table was validated."""
        try:
            return ssl.create_default_context(cafile=self.cafile)
        except OSError as error:  # ssl.SSLError is one
            raise UnfitKeyError("cafile does not hold certificates in PEM") from error

    @model_validator(mode="after")
    def _usable(self) -> Self:
        given = [name for name in _SOURCES if getattr(self, name) is not None]
        if len(given) != 1:
            raise UnfitKeyError("give exactly one of secret, public_key, jwks and jwks_url")
        for name in self.model_fields_set & _ONLY_FOR.keys():
            if given[0] not in _ONLY_FOR[name] and getattr(self, name) is not None:
                raise UnfitKeyError(f"{name} goes with {' or '.join(_ONLY_FOR[name])}, not with {given[0]}")
        self.load()
        if self.cafile is not None:
            self.tls()
        return self


class IssuerSettings(ClaimRules):
    """A table [[edge.jwt]]: one issuer of tokens. A principal is issuer and subject together.

    Args:
        issuer: the `iss` of its tokens, exactly.
        keys: what its tokens are verified with: tables [[edge.jwt.keys]].
        types: values of the `typ` header that access tokens have (RFC 9068, RFC 8725 3.11), in any case.
        untyped: take tokens without `typ`.
    """

    issuer: str = Field(min_length=1, max_length=512)
    keys: tuple[KeySettings, ...]
    types: Names = ("at+jwt", "JWT")
    untyped: bool = False

    def key_set(self) -> KeySet:
        """The keys that are configured; those at URLs are not among them."""
        return KeySet(key for settings in self.keys for key in settings.load())

    @model_validator(mode="after")
    def _keys_are_fit(self) -> Self:
        if not self.keys:
            raise UnfitKeyError("there is no key")
        urls = [key.jwks_url for key in self.keys if key.jwks_url is not None]
        if len(set(urls)) != len(urls):
            raise UnfitKeyError("one jwks_url stands twice")
        self.key_set()
        return self
