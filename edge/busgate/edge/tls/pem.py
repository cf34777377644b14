"""Files in PEM as an operator leaves them: read whole, judged, and handed to OpenSSL as they were read."""

import contextlib
import os
import stat
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

from cryptography import x509

from busgate.bus.file_rights import too_open

LONGEST = 60_000
"""Bytes of a file. OpenSSL reads it from a pipe, which takes 64 kB before anybody reads."""

_BEGIN = b"-----BEGIN CERTIFICATE-----"


class CertificateFault(ValueError):  # noqa: N818 - of a file of theirs, not an error of ours
    """What is wrong with a file of certificates or with a key: names the file, and shows nothing of what it holds."""


def read(path: Path, *, private: bool = False) -> bytes:
    """The bytes of a file.

    Raises:
        CertificateFault: it cannot be read, is empty or too long; or everyone may change it, or read what is private.
    """
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            raise CertificateFault(f"{path} is not a file")
        if (fault := too_open(status.st_mode, private=private)) is not None:
            raise CertificateFault(f"{path} {fault}")
        with path.open("rb") as file:
            data = file.read(LONGEST + 1)
    except FileNotFoundError:
        raise CertificateFault(f"there is no file {path}") from None
    except (OSError, ValueError) as error:
        if isinstance(error, CertificateFault):
            raise
        raise CertificateFault(f"cannot read {path}: {getattr(error, 'strerror', error)}") from None
    if not data.strip():
        raise CertificateFault(f"{path} is empty")
    if len(data) > LONGEST:
        raise CertificateFault(f"{path} is longer than {LONGEST} bytes")
    return data


def certificates_in(data: bytes, path: Path) -> list[x509.Certificate]:
    """All certificates of a file, in their order.

    Raises:
        CertificateFault: there is none, or one that cannot be read, or the file is cut off.
    """
    if _BEGIN not in data:
        raise CertificateFault(f"{path} holds no certificate in PEM")
    if not _is_whole(data):
        raise CertificateFault(f"{path} is cut off: it ends in the middle of a block")
    try:
        found = x509.load_pem_x509_certificates(data)
        for each in found:
            _ = each.extensions  # they are read late, and may be nonsense
    except ValueError:
        raise CertificateFault(f"{path} holds a certificate that cannot be read") from None
    return found


def _is_whole(data: bytes) -> bool:
    """Whether every block ends: some readers leave out one that does not, and so would half of a chain be served."""
    marks = [line.rstrip() for line in data.splitlines() if line.startswith(b"--")]
    kinds = [b"-----BEGIN ", b"-----END "] * (len(marks) // 2)
    return len(marks) == len(kinds) and all(
        mark.startswith(kind) and mark.endswith(b"-----") for mark, kind in zip(marks, kinds, strict=True)
    )


@contextlib.contextmanager
def as_file(data: bytes) -> Iterator[str]:
    """A path under which OpenSSL reads these bytes: it takes keys and revocation lists from files alone.

    So what it uses is what was judged, whatever happens to the file meanwhile, and no key is written to a disk.
    """
    reader, writer = os.pipe()
    try:
        try:
            os.set_blocking(writer, False)
            if os.write(writer, data) != len(data):
                raise CertificateFault(f"more than {LONGEST} bytes in one file")
        finally:
            os.close(writer)
        yield f"/dev/fd/{reader}"
    finally:
        os.close(reader)


def first_end(certificates: Iterable[x509.Certificate]) -> tuple[float, float]:
    """When the first of them ends, in epoch seconds, and for how many seconds that one was made."""
    first = min(certificates, key=lambda each: each.not_valid_after_utc)
    end = first.not_valid_after_utc.timestamp()
    return end, end - first.not_valid_before_utc.timestamp()


def when(moment: float) -> str:
    """A time (epoch seconds) as people write it."""
    return time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(moment))
