"""A process that is a fork of this one, and what it tells us: lines of JSON over a socket."""

import json
import os
import select
import signal
import socket
import sys
import time
import traceback
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Any, Self

from .endings import UNREAD

_STEP = 0.01


class Fork:
    """One such process. This one must have no threads when it forks."""

    def __init__(self, pid: int, control: socket.socket) -> None:
        self.control = control
        self.begun = time.monotonic()
        self.code: int | None = None
        """Its exit code, once it ended; negative: the signal that ended it."""
        self._pid = pid
        self._told = b""
        self._kill_at = float("inf")

    @classmethod
    def start(cls, work: Callable[[socket.socket], int], *, siblings: Iterable[Self]) -> Self:
        """Fork; the new process does the work, whose result is its exit code, and never returns from here.

        Args:
            work: gets the socket to us; it closes when we end.
            siblings: earlier forks: our ends of their sockets are not for this one.
        """
        ours, theirs = socket.socketpair()
        sys.stdout.flush()
        sys.stderr.flush()
        pid = os.fork()
        if pid == 0:
            ours.close()
            for sibling in siblings:
                sibling.control.close()
            _end_with(work, theirs)
        theirs.close()
        ours.setblocking(False)
        return cls(pid, ours)

    def hear(self, wait: float) -> list[dict[str, Any]]:
        """What it told; waits until it does, or ends, at most so many seconds."""
        if self.control.fileno() < 0:
            time.sleep(wait)
            return []
        if not select.select([self.control], [], [], wait)[0]:
            return []
        with suppress(ConnectionError):
            told = self.control.recv(1 << 20)
            if told:
                *lines, self._told = (self._told + told).split(b"\n")
                return [json.loads(line) for line in lines]
        self.control.close()  # it ended, or is about to
        return []

    def ended(self) -> bool:
        """Whether it is over; kills it when its time is."""
        if self.code is None and time.monotonic() > self._kill_at:
            os.kill(self._pid, signal.SIGKILL)
        if self.code is None:
            pid, status = os.waitpid(self._pid, os.WNOHANG)
            if pid:
                self.code = os.waitstatus_to_exitcode(status)
                self.control.close()
        return self.code is not None

    def tell_to_end(self, grace: float) -> None:
        """Let it finish what is in flight, for at most so many seconds."""
        if not self.ended():
            self._kill_at = min(self._kill_at, time.monotonic() + grace)
            os.kill(self._pid, signal.SIGTERM)


def end_all(forks: Iterable[Fork], grace: float) -> None:
    """End all; returns when they are gone, after little more than the grace."""
    left = list(forks)
    for fork in left:
        fork.tell_to_end(grace)
    while left := [fork for fork in left if not fork.ended()]:
        time.sleep(_STEP)


def _end_with(work: Callable[[socket.socket], int], control: socket.socket) -> None:
    code = 1
    try:
        code = work(control)
    except BrokenPipeError:  # nobody reads what we print; who started us will find out too
        code = UNREAD
    except BaseException:  # noqa: BLE001 - nothing of it may run on in the caller's code
        traceback.print_exc()
    finally:
        for stream in (sys.stdout, sys.stderr):
            with suppress(OSError):
                stream.flush()
        os._exit(code)
