"""Writes lines to a stream that may be slow, full or broken, and never lets the event loop wait for it.

A thread writes. A non-blocking descriptor would not do: the flag belongs to all who share the stream (the
shell, other processes, our own tracebacks) and means nothing for files.
"""

import errno
import os
import select
import threading
from collections import deque
from collections.abc import Iterator

WHOLE = 4096
"""Bytes that a pipe takes as a whole or not at all (PIPE_BUF)."""
KEPT = 8 * 1024 * 1024
"""Bytes that wait for a slow stream."""
_FOR_GOOD = {errno.EPIPE, errno.EBADF}
"""Nobody reads any more, or it was closed. A disk that is full may have room again."""


class LineWriter:
    """Writes to a file descriptor. It does not own it: the descriptor stays open.

    Args:
        fd: the descriptor.
        shared: other processes write to the same pipe. Then lines of up to WHOLE bytes are never torn, which
            costs a write for each 4 kB instead of one for all.
        kept: the most bytes that wait.

    `dropped` counts the lines that the stream did not take: those over `kept` bytes while it is slow, those of
    a write that failed (a full disk), and all once nobody can read them any more.
    """

    def __init__(self, fd: int, *, shared: bool = False, kept: int = KEPT) -> None:
        self.terminal = os.isatty(fd)
        self.dropped = 0
        self._fd = fd
        self._shared = shared
        self._kept = kept
        self._waiting: deque[bytes] = deque()
        self._size = 0
        self._broken = False
        self._closing = False
        self._changed = threading.Condition()
        # A daemon: stuck in a write for ever, it must not keep the process.
        self._thread = threading.Thread(target=self._write_all, name="line writer", daemon=True)
        self._thread.start()

    def write(self, lines: bytes) -> None:
        """Write whole lines soon, or drop all of them. Never blocks."""
        with self._changed:
            if self._broken or self._closing or self._size + len(lines) > self._kept:
                self.dropped += lines.count(b"\n")
                return
            self._size += len(lines)
            self._waiting.append(lines)
            self._changed.notify()

    def close(self, wait: float = 1.0) -> None:
        """Give the stream `wait` seconds for what is left, and drop the rest. Blocks: do it last."""
        with self._changed:
            self._closing = True
            self._changed.notify()
        self._thread.join(wait)
        with self._changed:
            self._drop_waiting()

    def _write_all(self) -> None:
        failed = False
        while lines := self._next():
            # What a failed write left of a line is ended, and not continued by the next.
            text = b"\n" + lines if failed else lines
            try:
                for piece in pieces_of(text) if self._shared else (text,):
                    write_all(self._fd, piece)
            except OSError as error:
                failed = True
                with self._changed:
                    self.dropped += lines.count(b"\n")
                    self._broken = error.errno in _FOR_GOOD
                    if self._broken:
                        self._drop_waiting()
                        return
            else:
                failed = False
            with self._changed:
                self._size -= len(lines)

    def _next(self) -> bytes | None:
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._closing)
            return self._waiting.popleft() if self._waiting else None

    def _drop_waiting(self) -> None:
        self.dropped += sum(lines.count(b"\n") for lines in self._waiting)
        self._waiting.clear()


def pieces_of(lines: bytes) -> Iterator[bytes]:
    """Whole lines, as many at a time as a pipe takes at once."""
    start = 0
    while start < len(lines):
        end = lines.rfind(b"\n", start, start + WHOLE) + 1 or start + WHOLE
        yield lines[start:end]
        start = end


def write_all(fd: int, piece: bytes) -> None:
    while piece:
        try:
            piece = piece[os.write(fd, piece) :]
        except BlockingIOError:  # somebody made the stream non-blocking
            ready = select.poll()
            ready.register(fd, select.POLLOUT)
            ready.poll()
