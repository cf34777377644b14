"""Where audit records wait until they are written, and the thread that writes them to a file or to stdout.

A file, a stream or a broker may be slow, full or gone for a while. What waits is bounded, and nothing of it is
given up before the end of the process: the write is tried again every second.
"""

import os
import sys
import threading
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

import structlog

from .line_writer import pieces_of, write_all

log = structlog.stdlib.get_logger("busgate.edge")

RETRY_EVERY = 1.0
"""Seconds between two tries to write."""
CLOSE_WAIT = 5.0
"""Seconds at the end for what still waits."""

_WAIT = "audit records cannot be written; they wait"
_DROPPED = "audit records cannot be written; they are dropped"

Line = tuple[bool, bytes]
"""Whether the call was refused, and its record."""


class AuditError(Exception):
    """Records cannot be written at all, and why."""


class Sink(Protocol):
    """Takes records. `body_limit`: bytes of a body that may stand in one."""

    backlog: "Backlog"
    body_limit: int

    async def start(self) -> None:
        """Raises AuditError or BusError where records cannot be written at all."""

    async def close(self) -> None:
        """Write what waits, within CLOSE_WAIT."""


class Backlog:
    """Records that wait to be written, bounded. Safe between threads.

    Args:
        kept: bytes.
        lossless: over `kept` bytes records are taken all the same; whoever asks `full` makes no more of them.
        wake: called when there is something.

    `written` and `dropped` count records; `failing` is why the last write failed, None after one that did not.
    """

    def __init__(self, kept: int, *, lossless: bool, wake: Callable[[], None]) -> None:
        self.lossless = lossless
        self.waiting = 0
        self.written = 0
        self.dropped = 0
        self.failing: str | None = None
        self._kept = kept
        self._wake = wake
        self._lines: deque[Line] = deque()
        self._lock = threading.Lock()

    @property
    def full(self) -> bool:
        return self.waiting >= self._kept

    def put(self, lines: Sequence[Line]) -> None:
        with self._lock:
            for line in lines:
                if self.full and not self.lossless:
                    self.dropped += 1
                else:
                    self._lines.append(line)
                    self.waiting += len(line[1])
        self._wake()

    def first(self, most: int = 256) -> list[Line]:
        """The oldest of what waits; it waits on until it is `settled`."""
        with self._lock:
            return [self._lines[number] for number in range(min(most, len(self._lines)))]

    def settle(self, count: int, *, written: bool = True) -> None:
        """So many of the oldest are written, or given up."""
        with self._lock:
            for _ in range(min(count, len(self._lines))):  # they may have been abandoned meanwhile
                self.waiting -= len(self._lines.popleft()[1])
            if written:
                self.written += count
            else:
                self.dropped += count

    def fail(self, why: str, *, waits: bool = True) -> None:
        """Note a failed write, and tell of the first of several. `waits`: what failed is tried again."""
        if self.failing is None:
            log.error(_WAIT if waits else _DROPPED, error=why)
        self.failing = why

    def recover(self) -> None:
        if self.failing is not None:
            log.info("audit records are written again")
        self.failing = None

    def abandon(self) -> None:
        """The end: count what was never written, and say so."""
        with self._lock:
            left = len(self._lines)
        if left:
            self.settle(left, written=False)
            log.error("audit records were lost at the end of the process", count=left, error=self.failing)


class WriterSink:
    """Writes records to a file, or to stdout, in a thread of its own: neither may hold up the event loop.

    Args:
        path: of the file; None: stdout.
        kept: as of Backlog.
        lossless: as of Backlog.
    """

    def __init__(self, path: Path | None, *, kept: int, lossless: bool) -> None:
        self._woken = threading.Event()
        self.backlog = Backlog(kept, lossless=lossless, wake=self._woken.set)
        self.body_limit = 1000 if path is None else 64 * 1024  # a pipe that many write to takes 4 kB as a whole
        self._stream: _Stream = _Stdout() if path is None else _AppendedFile(path)
        self._closing = threading.Event()
        # A daemon: stuck in a write for ever, it must not keep the process.
        self._thread = threading.Thread(target=self._write_all, name="audit writer", daemon=True)

    async def start(self) -> None:
        try:
            self._stream.open()
        except OSError as error:
            raise AuditError(f"{self._stream.name} cannot be written: {error.strerror}") from error
        self._thread.start()

    async def close(self) -> None:
        self._closing.set()
        self._woken.set()
        if self._thread.ident is not None:  # it was started
            self._thread.join(CLOSE_WAIT)  # the loop may wait: nothing is served any more
            if self._thread.is_alive():
                self.backlog.abandon()
                return
        self.backlog.abandon()
        self._stream.close()

    def _write_all(self) -> None:
        ending = False
        while not ending:
            self._woken.wait()
            self._woken.clear()
            ending = self._closing.is_set()  # before the look at what waits: nothing more comes after it is set
            while lines := self.backlog.first():
                if not self._write(b"".join(line for _, line in lines)):
                    return
                self.backlog.settle(len(lines))

    def _write(self, text: bytes) -> bool:
        """Write whole lines, however long it takes; False: not before the end."""
        while True:
            try:
                self._stream.write(text)
            except _TornError as error:
                self.backlog.fail(error.why)
                text = error.rest
                if self._closing.wait(RETRY_EVERY):
                    return False
            else:
                self.backlog.recover()
                return True


class _TornError(Exception):
    """A write ended early. `rest`: what is to be written next time, from the start of a line."""

    def __init__(self, rest: bytes, error: OSError) -> None:
        super().__init__()
        self.rest = rest
        self.why = error.strerror or type(error).__name__


class _Stream(Protocol):
    name: str

    def open(self) -> None: ...

    def write(self, text: bytes) -> None: ...

    def close(self) -> None: ...


class _Stdout:
    """Shared with the lines of calls, and maybe with other processes: written in pieces that none of them tears."""

    name = "stdout"

    def open(self) -> None:
        self._fd = sys.stdout.fileno()

    def write(self, text: bytes) -> None:
        done = 0
        try:
            for piece in pieces_of(text):
                write_all(self._fd, piece)
                done += len(piece)
        except OSError as error:
            raise _TornError(text[done:], error) from None

    def close(self) -> None:
        """It is not ours."""


class _AppendedFile:
    """A file that is only added to. Each write looks whether it is still the file of its name (rotation)."""

    def __init__(self, path: Path) -> None:
        self.name = str(path)
        self._path = path
        self._fd = -1

    def open(self) -> None:
        # 0o640: it holds who did what; not for everybody on the machine.
        self._fd = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o640)

    def write(self, text: bytes) -> None:
        done = 0
        try:
            self._follow()
            while done < len(text):
                done += os.write(self._fd, text[done:])
        except OSError as error:
            line = text.rfind(b"\n", 0, done) + 1
            # What is left of a torn line stays in the file, as a line that no reader takes for a record.
            raise _TornError((b"\n" if line < done else b"") + text[line:], error) from None

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)

    def _follow(self) -> None:
        if self._fd < 0:  # the last try to open it failed
            self.open()
            return
        try:
            there, ours = self._path.stat(), os.fstat(self._fd)
            moved = (there.st_dev, there.st_ino) != (ours.st_dev, ours.st_ino)
        except FileNotFoundError:
            moved = True
        if moved:
            os.close(self._fd)
            self._fd = -1
            self.open()
