"""The caller, signed: a compact JWS (RFC 7515) of Ed25519 that travels in the header `jws`, beside `caller`.

docs/wire.md is its manual, ADR-0010 says why it is so. It needs cryptography (`pip install 'busgate[trust]'`): only
those who sign or verify import this module.
"""

import base64
import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)

from busgate.contracts import Caller

from .short_memory import ShortMemory
from .wire import JWS_LIMIT

ALGORITHM = "EdDSA"
TYPE = "caller+jwt"
LIFETIME = 60
"""Seconds from `iat` to `exp`, at most."""
LEEWAY = 5.0
"""Seconds that the clocks of who signs and who verifies may differ."""
REMEMBERED = 5_000
"""Half of the signatures that are remembered: some 1 kB each where they are made, 2 kB where they are checked."""

_COMPACT = re.compile(r"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]{86}")

Keys = Mapping[str, Ed25519PublicKey]
"""Public keys by their ids."""


class UnfitKeyError(ValueError):
    """A key or a set of keys that cannot be used, and why. Holds nothing of the key."""


class Unverified(Exception):  # noqa: N818 - what happens to a call, not an error of ours
    """A signed caller that proves nothing: the reason in a word, for metrics, and in a sentence, for the log."""

    def __init__(self, reason: str, text: str) -> None:
        super().__init__(text)
        self.reason = reason


class SigningKey:
    """A private key of an edge, and its name: the thumbprint of its public half (RFC 7638).

    Raises:
        UnfitKeyError: the PEM is not that of an Ed25519 key without a password.
    """

    def __init__(self, pem: bytes) -> None:
        try:
            private = load_pem_private_key(pem, password=None)
        except Exception as error:  # of many kinds, some of them quote the input
            raise UnfitKeyError("not a private key in PEM without a password") from error
        if not isinstance(private, Ed25519PrivateKey):
            raise UnfitKeyError("not an Ed25519 key: make one with openssl genpkey -algorithm ed25519")
        self._sign = private.sign
        self.public = private.public_key()
        x = _encoded(self.public.public_bytes(Encoding.Raw, PublicFormat.Raw))
        known_by = f'{{"crv":"Ed25519","kty":"OKP","x":"{x}"}}'
        self.kid = _encoded(hashlib.sha256(known_by.encode()).digest())
        self.jwk = {"kty": "OKP", "crv": "Ed25519", "x": x, "kid": self.kid, "alg": ALGORITHM, "use": "sig"}
        head = f'{{"alg":"{ALGORITHM}","kid":"{self.kid}","typ":"{TYPE}"}}'
        self._head = _encoded(head.encode()).encode() + b"."

    def sign(self, caller: bytes, audience: str, *, now: int, lifetime: int = LIFETIME, message: str = "") -> bytes:
        """The header `jws` of a caller.

        Args:
            caller: the header `caller`, which is taken in as it is.
            audience: whom it is for.
            now: epoch seconds.
            lifetime: seconds for which it is good.
            message: `digest` of the one message that it is for; empty: of any.
        """
        bound = f'"msg":"{message}",' if message else ""
        claims = f'{{"aud":"{audience}","iat":{now},"exp":{now + lifetime},{bound}"caller":'.encode() + caller + b"}"
        signed = self._head + base64.urlsafe_b64encode(claims).rstrip(b"=")
        return signed + b"." + _encoded(self._sign(signed)).encode()


class SignedCaller:
    """A caller as a signature proves it.

    Attributes:
        header: the header `caller` that goes with it.
        message: digest of the one message that it is for; empty: of any.
        expires: epoch seconds, by the clock of who signed.
    """

    __slots__ = ("audience", "caller", "expires", "header", "message")

    def __init__(self, caller: Caller, header: bytes, *, audience: str, expires: int, message: str) -> None:
        self.caller = caller
        self.header = header
        self.audience = audience
        self.expires = expires
        self.message = message


class Verifier:
    """Verifies signed callers, offline: by public keys that are at hand.

    Args:
        keys: they may be replaced later.
        leeway: seconds that clocks may differ.
    """

    def __init__(self, keys: Keys, *, leeway: float = LEEWAY) -> None:
        self._keys = keys
        self._leeway = leeway
        self._known: ShortMemory[bytes, SignedCaller] = ShortMemory(REMEMBERED)

    @property
    def kids(self) -> list[str]:
        """The names of the keys."""
        return list(self._keys)

    def replace_keys(self, keys: Keys) -> None:
        """Believe these keys, and no others, from now on. What older ones have proved is forgotten."""
        self._keys = keys
        self._known.clear()

    def verify(self, jws: bytes, caller: bytes, now: float) -> SignedCaller:
        """What the headers `jws` and `caller` of a call prove. Whom it was made for is for the caller to look at.

        Raises:
            Unverified: nothing.
        """
        known = self._known.get(jws)
        if known is None or known.header != caller:  # another caller, or the same as another writer of JSON spells it
            known = self._read(jws, caller, now)
            self._known.put(jws, known)
        if known.expires + self._leeway <= now:
            raise Unverified("expired", "its signature has ended; is a clock wrong, or did it wait for over a minute?")
        return known

    def _read(self, jws: bytes, caller: bytes, now: float) -> SignedCaller:
        text = jws.decode("ascii", "replace")
        if len(text) > JWS_LIMIT or not _COMPACT.fullmatch(text):
            raise _malformed("it is not a compact JWS")
        head, body, signature = text.split(".")
        self._check_signature(head, f"{head}.{body}".encode(), _decoded(signature))
        claims = _object(body)
        issued, expires = claims.get("iat"), claims.get("exp")
        audience, message = claims.get("aud"), claims.get("msg", "")
        if type(issued) is not int or type(expires) is not int:
            raise _malformed("iat and exp are not both integers")
        if not isinstance(audience, str) or not isinstance(message, str):
            raise _malformed("aud and msg are not both texts")
        if not issued < expires <= issued + LIFETIME or issued > now + self._leeway:
            raise Unverified("time", "its signature is good for over a minute, or from the future; is a clock wrong?")
        try:
            proved = Caller.from_json(_canonical(claims.get("caller")))
            same = _canonical(json.loads(caller)) == _canonical(claims["caller"])
        except (ValueError, RecursionError):
            raise _malformed("it has no caller, or none stands beside it") from None
        if not same:
            raise Unverified("mismatch", "its header caller is not what was signed")
        return SignedCaller(proved, caller, audience=audience, expires=expires, message=message)

    def _check_signature(self, head: str, signed: bytes, signature: bytes) -> None:
        header = _object(head)
        kid = header.pop("kid", None)
        if header != {"alg": ALGORITHM, "typ": TYPE}:
            raise _malformed(f"its header has more or other than alg {ALGORITHM}, typ {TYPE} and kid")
        key = self._keys.get(kid) if isinstance(kid, str) else None
        if key is None:
            raise Unverified("unknown-key", "no key that is known here signed it; are these the keys of the edge?")
        try:
            key.verify(signature, signed)
        except InvalidSignature:
            raise Unverified("forged", "its signature is not good: it was made up, or changed on its way") from None


def digest(topic: str, call_id: bytes, body: bytes) -> str:
    """What a signature names that is good for one message."""
    return _encoded(hashlib.sha256(b"%b\n%b\n%b" % (topic.encode(), call_id, body)).digest())


def new_pem() -> bytes:
    """A new private key, for one run."""
    return Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def jwk_set(keys: Sequence[SigningKey]) -> bytes:
    """Public halves as a JWK Set (RFC 7517)."""
    return json.dumps({"keys": [key.jwk for key in keys]}).encode()


def public_keys(text: bytes) -> Keys:
    """The Ed25519 keys of a JWK Set; those of other kinds or for other uses are left out.

    Raises:
        UnfitKeyError: it is not a JWK Set, one of its keys is not whole, or none is left.
    """
    try:
        entries = json.loads(text)["keys"]
        found = [entry for entry in entries if entry.get("crv") == "Ed25519" and entry.get("use", "sig") == "sig"]
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        raise UnfitKeyError('not a JWK Set: an object with a list "keys" of objects is needed') from None
    if any("d" in entry for entry in found):
        raise UnfitKeyError("the JWK Set holds a private key; it belongs to the edge alone")
    keys = {}
    for entry in found:
        kid = entry.get("kid")
        if not isinstance(kid, str) or not kid or kid in keys:
            raise UnfitKeyError("each key of the JWK Set needs a kid of its own")
        try:
            keys[kid] = Ed25519PublicKey.from_public_bytes(_decoded(entry["x"]))
        except (ValueError, TypeError, KeyError, Unverified):
            raise UnfitKeyError(f"the key {kid!r} of the JWK Set is not an Ed25519 key") from None
    if not keys:
        raise UnfitKeyError("the JWK Set holds no Ed25519 key for signatures")
    return keys


def _malformed(why: str) -> Unverified:
    return Unverified("malformed", f"its header jws cannot be read: {why}")


def _encoded(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _decoded(text: str) -> bytes:
    """Base64url in its one spelling (RFC 4648, 3.5): with others, a changed letter could pass. Raises Unverified."""
    try:
        data = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    except ValueError:
        raise _malformed("not base64url") from None
    if _encoded(data) != text:
        raise _malformed("not base64url in its one spelling")
    return data


def _object(text: str) -> dict[str, Any]:
    try:
        document = json.loads(_decoded(text))
    except (ValueError, RecursionError):
        raise _malformed("not JSON") from None
    if not isinstance(document, dict):
        raise _malformed("not an object")
    return document


def _canonical(value: Any) -> str:
    """JSON that is the same text for the same value, and no longer than any other text of it."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
