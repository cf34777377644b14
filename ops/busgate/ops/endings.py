"""How every command ends, whatever comes: what it holds is put away, and the exit code says why.

| 0 | Ctrl-C at what watches until then |
| 128 + number | a signal: 130 Ctrl-C, 143 SIGTERM, 129 a terminal that was closed |
| 141 | nobody reads what it prints: `busgate openapi | head` |
| 1 | what it prints cannot be written: the disk is full |

A command that serves until it is told to stop handles signals itself (`signals`).
"""

import errno
import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType

BY_SIGNAL = 128
UNREAD = BY_SIGNAL + signal.SIGPIPE
UNWRITTEN = 1

_OUTPUT = (errno.EDQUOT, errno.EFBIG, errno.EIO, errno.ENOSPC)
"""What a stream says that takes no more; a file of somebody else's would have a name."""


def guarded(command: Callable[[], int], *, watches: Callable[[], bool] = lambda: False) -> int:
    """Run a command to its end; the exit code. Where it `watches`, Ctrl-C is how it ends, and 0."""
    _open_standard_streams()
    with _ended_by_signals() as told:
        try:
            code = _code_of(command)
            sys.stdout.flush()
        except KeyboardInterrupt:
            code = BY_SIGNAL + told[0] if told else 0 if watches() else BY_SIGNAL + signal.SIGINT
        except BrokenPipeError:
            code = UNREAD
        except OSError as error:
            if error.errno not in _OUTPUT or error.filename is not None:
                raise
            with suppress(OSError):
                print(f"busgate: the output cannot be written: {error.strerror}", file=sys.stderr)
            code = UNWRITTEN
        if not _can_write():
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # Python writes the rest at its end
    return code


def _code_of(command: Callable[[], int]) -> int:
    try:
        return command()
    except SystemExit as end:  # of the parser: help, or a fault that it told
        return end.code if isinstance(end.code, int) else 0 if end.code is None else 1


def _open_standard_streams() -> None:
    """Fill those that are closed (`>&-`): else the next socket is number 1, and gets what is printed."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # the lowest free number, which is this one
    if sys.stdout is None:
        sys.stdout = open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115 - open to the end of the process
    if sys.stderr is None:
        sys.stderr = open(2, "w", encoding="utf-8", closefd=False)  # noqa: SIM115 - open to the end of the process


@contextmanager
def _ended_by_signals() -> Iterator[list[int]]:
    """SIGTERM and SIGHUP end a command as Ctrl-C does, so that it puts away what it holds; which ones came."""
    told: list[int] = []

    def interrupt(number: int, frame: FrameType | None) -> None:
        told.append(number)
        on_interrupt = signal.getsignal(signal.SIGINT)  # of asyncio, while that runs
        if callable(on_interrupt):
            on_interrupt(signal.SIGINT, frame)
        else:  # ignored: started in the background
            raise KeyboardInterrupt

    ours = [each for each in (signal.SIGTERM, signal.SIGHUP) if signal.getsignal(each) is signal.SIG_DFL]
    for each in ours:
        signal.signal(each, interrupt)
    try:
        yield told
    finally:
        for each in ours:
            signal.signal(each, signal.SIG_DFL)


def _can_write() -> bool:
    try:
        sys.stdout.flush()
    except OSError:
        return False
    return True
