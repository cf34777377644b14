"""What a signature promises beyond the head of a request."""

from base64 import b64encode
from hashlib import sha256, sha512
from hmac import compare_digest

_HASHES = {"sha-256": sha256, "sha-512": sha512}


class SignedContent:
    """What a signature that holds promises of a request whose body is still to be read.

    Args:
        names: of the components that it covers.
        digests: of the body, in Base64; None: there is no body.
    """

    __slots__ = ("_digests", "names")

    def __init__(self, names: frozenset[str], digests: dict[str, bytes] | None) -> None:
        self.names = names
        self._digests = digests

    def is_of(self, body: bytes) -> bool:
        """Whether all digests are those of this body."""
        if self._digests is None:
            return not body
        return all(
            compare_digest(b64encode(_HASHES[name](body).digest()), digest) for name, digest in self._digests.items()
        )
