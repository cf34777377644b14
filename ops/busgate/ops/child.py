"""What a process inherits from its supervisor: its number, a socket to talk over, and listening sockets."""

import os
import signal
import socket
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from typing import Self

READY = b"r"
DRAINED = b"d"


@dataclass(frozen=True, slots=True)
class Child:
    """The child's side. As text: `number:control[:listener...]`, all but the number are file descriptors."""

    number: int
    control: socket.socket
    listeners: list[socket.socket]

    @classmethod
    def inherited(cls, text: str) -> Self:
        """Take over what the supervisor handed down."""
        number, *descriptors = (int(part) for part in text.split(":"))
        for each in descriptors:
            os.set_inheritable(each, False)  # not for programs that a handler starts
        control, *listeners = descriptors
        return cls(number, socket.socket(fileno=control), [socket.socket(fileno=each) for each in listeners])

    def among(self, count: int) -> int | None:
        """Its number, where it is one of several alike."""
        return self.number if count > 1 else None

    def ready(self) -> None:
        """Tell the supervisor that this process serves."""
        with suppress(OSError):  # it is gone: `follow` sees that too
            self.control.send(READY)

    def drained(self) -> None:
        """Tell the supervisor that an operator took this process out from afar, so it is not to be started again."""
        with suppress(OSError):
            self.control.send(DRAINED)

    def follow(self, grace: float) -> None:
        """End when the supervisor is gone: drain; after the grace at once, even if the event loop hangs."""
        threading.Thread(target=self._follow, args=(grace,), name="supervisor watch", daemon=True).start()

    def _follow(self, grace: float) -> None:
        with suppress(OSError):  # a reset, when the supervisor ended before it read that we serve
            self.control.recv(1)  # nothing is ever said: it returns when the other end closes
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(grace)
        os._exit(1)
