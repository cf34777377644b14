"""The table [edge.signature]: who may sign requests, with which keys, and what a signature must cover."""

import re
from collections.abc import Iterator
from datetime import datetime
from typing import Annotated, Self, cast

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from pydantic import AfterValidator, Field, model_validator

from busgate.bus.tables import Names, Secret, Table, Text, Time, split_web_url
from busgate.edge.keys import UnfitKeyError, public_key, secret_key
from busgate.edge.principal import Grant

from .fields import NAME_LIMIT
from .keys import SigningKey

_PLAIN = re.compile(r"[ !#-\[\]-~]+")
_COMPONENT = re.compile(r"@(method|scheme|authority|path|query|target-uri)|[a-z0-9!#$%&'*+.^_`|~-]+")


def _plain(text: str) -> str:
    if not _PLAIN.fullmatch(text):
        raise ValueError("must be plain ASCII without quotes and backslashes")
    return text


def _origin(text: str) -> str:
    url = split_web_url(text)
    if url.path or url.query:
        raise ValueError("must be scheme and host alone, like https://api.shop.example")
    return text.lower()


def _components(names: tuple[str, ...]) -> tuple[str, ...]:
    for name in names:
        if not _COMPONENT.fullmatch(name):
            raise ValueError(f"{name!r} is not a header in lower case, nor a component that is known")
        if name == "content-digest":
            raise ValueError("content-digest must be covered wherever there is a body; it need not be named")
    return names


class SignatureKeySettings(Grant):
    """A table [[edge.signature.keys]]: a key and who signs with it. Exactly one of `secret` and `public_key`.

    A caller may have several, so that one can be replaced while the other still holds.

    Args:
        subject: name of the caller who signs with it.
        issuer: who vouches for the caller. A caller is issuer and subject together.
        scopes: what the caller may do.
        roles: what the caller is.
        tenant: on whose behalf the caller acts; empty: nobody's.
        keyid: the name by which requests choose the key.
        secret: text of at least 32 bytes, for hmac-sha256. Whoever has it can sign: the edge too.
        public_key: an Ed25519 key in PEM, for ed25519.
        not_before: from when it holds.
        not_after: until when it holds.
    """

    keyid: Annotated[str, AfterValidator(_plain), Field(min_length=1, max_length=NAME_LIMIT)]
    secret: Secret | None = None
    public_key: Text | None = None
    not_before: Time | None = None
    not_after: Time | None = None

    def load(self) -> SigningKey:
        """The key. Raises UnfitKeyError or ValueError, but not once this table was validated."""
        if (self.secret is None) == (self.public_key is None):
            raise UnfitKeyError("give exactly one of secret and public_key")
        if self.secret is not None:
            key = secret_key(self.secret.get_secret_value())
        else:
            key = public_key("EdDSA", self.public_key or "")
        until = _epoch(self.not_after, float("inf"))
        return SigningKey(
            self.verified("signature", until, credential=self.keyid),
            cast("bytes | Ed25519PublicKey", key.material),
            not_before=_epoch(self.not_before, float("-inf")),
            not_after=until,
        )

    @model_validator(mode="after")
    def _usable(self) -> Self:
        self.load()
        if self.not_before and self.not_after and self.not_before >= self.not_after:
            raise ValueError("not_before is not before not_after")
        return self


class SignatureSettings(Table):
    """The table [edge.signature]: what signatures of requests must be (RFC 9421). None are taken without keys.

    Args:
        keys: of those who may sign: tables [[edge.signature.keys]].
        window: seconds by which `created` may differ from our clock. So long nonces are remembered.
        origin: scheme and host that clients call, where a proxy in front changes them: `https://api.shop.example`.
            Without it, as the request says.
        components: what must be covered beside method and target, and the body where there is one.
        tag: what signatures for us are tagged with; without it any or none.
        forget_nonces: take signatures with a store in memory. A restart forgets it, and within `window` a request that
            was overheard can be sent again.
    """

    keys: tuple[SignatureKeySettings, ...] = ()
    window: float = Field(60.0, ge=1, le=3600)
    origin: Annotated[str, AfterValidator(_origin)] | None = None
    components: Annotated[Names, AfterValidator(_components)] = ()
    tag: Annotated[str, AfterValidator(_plain), Field(min_length=1, max_length=NAME_LIMIT)] | None = None
    forget_nonces: bool = False

    def load(self) -> Iterator[tuple[str, SigningKey]]:
        """All keys by name."""
        for settings in self.keys:
            yield settings.keyid, settings.load()

    @model_validator(mode="after")
    def _distinct(self) -> Self:
        names = [key.keyid for key in self.keys]
        if len(set(names)) != len(names):
            raise ValueError("two tables of keys have one keyid")
        return self


def _epoch(when: datetime | None, default: float) -> float:
    return default if when is None else when.timestamp()
