"""A value that stands in files, read anew when they change; one that is no good never replaces one that is."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Generic, TypeVar

from .pem import CertificateFault

ValueT = TypeVar("ValueT")

Signature = tuple[tuple[int, int, int] | None, ...]
"""What tells two states of files apart: inode, time and size of each; None: it is not there."""


class Watched(Generic[ValueT]):
    """Files, and what they held when it was last good.

    Args:
        files: all of them together are one value.
        read: reads and judges it; raises CertificateFault.

    Attributes:
        value: the one in use.
        fault: why what stands in the files now is not used; None where it is.
        reloads: how often `value` changed.

    Raises:
        CertificateFault: the files hold nothing good to begin with.
    """

    def __init__(self, files: Sequence[Path | None], read: Callable[[], ValueT]) -> None:
        self.files = [file for file in files if file is not None]
        self._read = read
        self._good = self._signature()
        self._seen = self._good
        self.value = read()
        self.fault: str | None = None
        self.reloads = 0

    def look(self) -> ValueT | None:
        """Look at the files: another value that they hold now, for whoever can use it to `take`; None: there is none.

        Files are written one after the other, and piece by piece: they count when two looks found them the same. What
        is not taken is found again by the next look.
        """
        seen = self._signature()
        if seen == self._good:
            self.fault = None
            return None
        if seen != self._seen:
            self._seen = seen
            return None
        try:
            value = self._read()
        except (CertificateFault, OSError) as error:  # the process may have no file left to open
            self.fault = str(error)
            return None
        if self._signature() != seen:
            return None  # written while they were read
        if value == self.value:
            self._good, self.fault = seen, None
            return None
        return value

    def take(self, value: ValueT) -> None:
        """Use what the last look found."""
        self.value, self._good, self.fault = value, self._seen, None
        self.reloads += 1

    def _signature(self) -> Signature:
        return tuple(map(_state, self.files))


def _state(file: Path) -> tuple[int, int, int] | None:
    try:
        status = file.stat()
    except OSError:
        return None
    return status.st_ino, status.st_mtime_ns, status.st_size
