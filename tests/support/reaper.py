"""Clean-up that happens even when the test process is killed."""

import contextlib
import subprocess
import sys
from collections.abc import Sequence

# Reads until the pipe closes, which the kernel does when the test process ends, however it ends.
_SCRIPT = "import subprocess, sys; sys.stdin.read(); subprocess.run(sys.argv[1:], capture_output=True)"


class Reaper:
    """Runs a command once: on `run()`, or when this process is gone."""

    def __init__(self, command: Sequence[str]) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", _SCRIPT, *command],
            stdin=subprocess.PIPE,
            start_new_session=True,  # Ctrl-C must not reach it
        )

    def run(self) -> None:
        """Run the command now and wait for its end; nothing the second time."""
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.close()
        self._process.wait(timeout=60)
