"""The `busgate` command: reads the command line, runs one sub-command, and says what is wrong in plain lines.

Exit codes: 0 done, 1 done but not all well (a drain that was cut, a topology that is not as it should be),
2 a fault of the configuration, the modules or the surroundings, which stands on stderr in a line each.
"""

import importlib
import os
import sys
from collections.abc import Sequence

from .arguments import new_parser

INTERRUPTED = 130


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; the exit code. Contracts and services are found from the current folder."""
    options = new_parser().parse_args(argv)
    options.argv = list(sys.argv[1:] if argv is None else argv)
    sys.path.append(os.getcwd())  # noqa: PTH109 - last: no stray file may stand in for a library
    try:
        return _run(options.command, options)
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:  # `busgate openapi | head`: nobody reads on
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1


def _run(name: str, options: object) -> int:
    try:
        module = importlib.import_module(f"busgate.ops.commands.{name}")
        code: int = module.run(options)
    except Exception as error:
        from .faults import lines_of  # noqa: PLC0415 - knows the errors of all parts, so imports them

        lines = lines_of(error)
        if lines is None:
            raise  # a fault of ours: its traceback is what helps
        for line in lines:
            print(f"busgate: {line}", file=sys.stderr)
        return 2
    return code


if __name__ == "__main__":
    sys.exit(main())
