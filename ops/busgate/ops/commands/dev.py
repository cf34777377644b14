"""`busgate dev`: edge and services in one process, started again when their files change.

This process keeps the listening sockets, so that a request which comes during a restart waits and is not refused. It
has every library loaded, looks at the files, and forks what serves: see `dev_process`.
"""

import argparse
import gc
import sys
import time
from collections import deque
from contextlib import closing
from pathlib import Path
from socket import socket

from busgate.ops.child import Child
from busgate.ops.config import ConfigError
from busgate.ops.dev_process import FAULTY, UNSUITED, Start, serve
from busgate.ops.dev_settings import GRACE, read_dev_settings
from busgate.ops.dev_sockets import Sockets
from busgate.ops.faults import CommandError, lines_of, printable
from busgate.ops.forks import Fork, end_all
from busgate.ops.loading import DEFAULT_FILE
from busgate.ops.signer import Signer
from busgate.ops.watching import Roots, Watch, forget_compiled, roots_of

END = 0.5
"""Seconds for calls in flight when all ends."""
BURST, WITHIN, REST = 5, 3.0, 2.0
"""So many restarts within so many seconds are followed by a rest: something writes its own code."""


def run(options: argparse.Namespace) -> int:
    with closing(_Dev(options)) as dev:
        try:
            return dev.run()
        except KeyboardInterrupt:
            return 0


class _Dev:
    def __init__(self, options: argparse.Namespace) -> None:
        self._options = options
        self._file = Path(options.config or DEFAULT_FILE)
        self._signer = Signer(issuer="busgate dev", audience="dev", subject="developer")
        self._sockets = Sockets()
        self._watch = Watch()
        self._current: Fork | None = None
        self._old: list[Fork] = []
        self._restarts: deque[float] = deque([-WITHIN] * BURST, maxlen=BURST)
        self._scopes: list[str] | None = None
        self._known: list[str] | None = None
        self._left_out: list[str] = []

    def run(self) -> int:
        """Serve until Ctrl-C. The exit code, where no change of a file can help."""
        self._watch.add(Roots(folders=frozenset({Path.cwd()}), files=frozenset({self._file})))
        gc.freeze()  # what is here is for all forks
        while True:
            noticed = time.monotonic()
            self._begin()
            changed = self._until_changed(noticed)
            if not changed:
                return FAULTY
            self._hear(noticed, 0)  # it may have become ready, and shown its token, while we looked at the files
            _say(f"{_names(changed)} changed")
            self._let_go()
            forget_compiled(changed)
            self._rest()

    def close(self) -> None:
        end_all([*self._old, *([self._current] if self._current else [])], END)
        self._sockets.close()

    def _begin(self) -> None:
        """Start to serve, or tell why not, if a change can mend it.

        Raises:
            CommandError, ConfigError: none can.
        """
        try:
            settings, left_out = read_dev_settings(self._options, self._file)
            self._sockets.open(settings.edge)
        except (CommandError, ConfigError) as error:
            if self._known is None and not self._can_mend(error.faults):
                raise
            for line in lines_of(error) or []:
                print(f"busgate: {line}", file=sys.stderr, flush=True)
            _say("waits for a change")
            return
        if left_out != self._left_out:
            self._left_out = left_out
            _say(f"takes its own tokens only: {'; '.join(left_out)}" if left_out else "takes all tokens again")
        names = [*settings.edge.contracts, *(name.partition(":")[0] for name in settings.worker.services)]
        self._watch.add(roots_of(names))

        def work(control: socket) -> int:
            child = Child(0, control, list(self._sockets))
            return serve(Start(settings, child, self._signer, self._known))

        self._current = Fork.start(work, siblings=self._old)

    def _can_mend(self, faults: list[str]) -> bool:
        """Whether a change of the file can mend any of these."""
        return self._file.exists() and any(fault.startswith(f"{self._file}:") for fault in faults)

    def _until_changed(self, noticed: float) -> list[str]:
        """Wait for the next change; what changed. Nothing: no change can help."""
        while True:
            if self._current is None:
                time.sleep(self._watch.pause)
            else:
                self._hear(noticed, self._watch.pause)
                if self._current.ended():
                    if self._current.code == UNSUITED and self._known is None:
                        return []
                    self._tell_end(self._current.code)
                    self._current = None
            self._old = [fork for fork in self._old if not fork.ended()]
            if changed := self._watch.changes():
                return changed

    def _hear(self, noticed: float, wait: float) -> None:
        for message in self._current.hear(wait) if self._current else ():
            if "files" in message:
                self._watch.add(Roots(files=frozenset(map(Path, message["files"]))))
                self._scopes = message["scopes"]
            if "ready" in message:
                if self._known is not None:
                    _say(f"ready after {time.monotonic() - noticed:.2f} s")
                self._known = self._scopes

    def _tell_end(self, code: int | None) -> None:
        if code not in (FAULTY, UNSUITED):
            _say(f"the process ended by itself, exit code {code}")
        _say("waits for a change")

    def _let_go(self) -> None:
        if self._current is not None:
            self._current.tell_to_end(GRACE)
            self._old.append(self._current)
            self._current = None

    def _rest(self) -> None:
        self._restarts.append(time.monotonic())
        if self._restarts[-1] - self._restarts[0] < WITHIN:
            _say(f"{BURST} restarts in a few seconds: rests for {REST:g} s")
            time.sleep(REST)


def _say(text: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} busgate dev: {printable(text)}", flush=True)


def _names(files: list[str]) -> str:
    here = Path.cwd()
    names = [str(path.relative_to(here) if path.is_relative_to(here) else path) for path in map(Path, files)]
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
