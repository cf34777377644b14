"""What an API key looks like: `bgk_`, ten letters that name it, `_`, a secret, and a checksum.

The beginning and the checksum are for scanners that look for leaked secrets: what matches is a key, and nothing
else does. They also refuse a mistyped key before anything is looked up.

The secret has 256 random bits, so a plain hash of it can be kept: there is no list of likely secrets to try, which
is what slow hashes are for. A slow one would cost every call, and let anybody keep the edge busy.
"""

import re
import secrets
import string
from hashlib import sha256
from zlib import crc32

from busgate.edge.verified import CredentialRefused

PREFIX = "bgk_"
PATTERN = r"bgk_[0-9A-Za-z]{10}_[0-9A-Za-z]{43}[0-9a-f]{8}"
"""For scanners of secrets."""

_LETTERS = string.digits + string.ascii_letters
_ID, _SECRET = 10, 43  # 43 of 62 letters are 256 bits
_KEY = re.compile(rb"bgk_([0-9A-Za-z]{10})_[0-9A-Za-z]{43}([0-9a-f]{8})")


def new_id() -> str:
    """A name for a key. Says nothing, so that it may be shown."""
    return _random(_ID)


def new_key(name: str) -> str:
    """A new secret for the key of that name, as its owner gets it."""
    text = f"{PREFIX}{name}_{_random(_SECRET)}"
    return text + _checksum(text.encode()).decode()


def read_key(text: bytes) -> tuple[str, bytes]:
    """The name of a key and the hash of all of it.

    Raises:
        CredentialRefused: it is none, or mistyped.
    """
    found = _KEY.fullmatch(text)
    if found is None or found[2] != _checksum(text[:-8]):
        raise CredentialRefused("not an API key, or mistyped")
    return found[1].decode(), sha256(text).digest()


def _random(length: int) -> str:
    return "".join(secrets.choice(_LETTERS) for _ in range(length))


def _checksum(text: bytes) -> bytes:
    return b"%08x" % crc32(text)
