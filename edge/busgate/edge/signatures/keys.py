"""The keys of callers who sign, found by their keyid. A key fixes its algorithm: a request can only choose the key."""

import hmac
import secrets
from base64 import b64encode
from collections.abc import Callable, Iterable

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from busgate.edge.verified import CredentialRefused, VerifiedCaller

from .fields import decode

MAC_LENGTH, ED25519_LENGTH = 44, 88
"""Letters of a signature in Base64."""

Check = Callable[[bytes, bytes], bool]
"""Whether a signature in Base64 is that of a text."""


class SigningKey:
    """One key.

    Args:
        caller: who signs with it.
        secret: shared with the caller, or the caller's public key.
        not_before: epoch seconds.
        not_after: epoch seconds.
    """

    __slots__ = ("caller", "check", "length", "name", "not_after", "not_before")

    def __init__(
        self,
        caller: VerifiedCaller,
        secret: bytes | Ed25519PublicKey,
        *,
        not_before: float = float("-inf"),
        not_after: float = float("inf"),
    ) -> None:
        self.caller = caller
        self.not_before = not_before
        self.not_after = not_after
        if isinstance(secret, bytes):
            self.name, self.length, self.check = "hmac-sha256", MAC_LENGTH, _mac_check(secret)
        else:
            self.name, self.length, self.check = "ed25519", ED25519_LENGTH, _ed25519_check(secret)


class KeyRing:
    """All keys by keyid.

    Every signature is checked by some key, also where none has its keyid: so an unknown key, one that is not good
    now and one of another algorithm take as long as a signature that is wrong.
    """

    def __init__(self, keys: Iterable[tuple[str, SigningKey]]) -> None:
        self._keys = dict(keys)
        self._nobodys = {MAC_LENGTH: _mac_check(secrets.token_bytes(32))}
        if any(key.length == ED25519_LENGTH for key in self._keys.values()):
            self._nobodys[ED25519_LENGTH] = _ed25519_check(Ed25519PrivateKey.generate().public_key())

    def verify(self, keyid: str, base: bytes, signature: bytes, *, alg: str | None, now: float) -> VerifiedCaller:
        """Who signed a text.

        Args:
            keyid: the name of the key.
            base: the text.
            signature: in Base64.
            alg: the algorithm that the request names, if it does.
            now: epoch seconds.

        Raises:
            CredentialRefused: nobody who may, with this key.
        """
        length = len(signature)
        nobodys = self._nobodys.get(length)
        if nobodys is None:
            raise CredentialRefused("a signature of this length is none of ours")
        key = self._keys.get(keyid)
        usable = (
            key is not None
            and key.length == length
            and (alg is None or alg == key.name)
            and key.not_before <= now < key.not_after
        )
        if not usable or key is None:
            nobodys(base, signature)
            raise CredentialRefused("a key that is not known, not good now or of another algorithm")
        if not key.check(base, signature):
            raise CredentialRefused("the signature is wrong")
        return key.caller


def _mac_check(secret: bytes) -> Check:
    def check(base: bytes, signature: bytes) -> bool:
        return hmac.compare_digest(b64encode(hmac.digest(secret, base, "sha256")), signature)

    return check


def _ed25519_check(public: Ed25519PublicKey) -> Check:
    def check(base: bytes, signature: bytes) -> bool:
        try:
            public.verify(decode(signature), base)
        except InvalidSignature:
            return False
        return True

    return check
