"""The `busgate` command: reads the command line, runs one sub-command, and says what is wrong in plain lines.

Exit codes: 0 done, 1 done but not all well (a drain that was cut, a topology that is not as it should be),
2 a fault of the configuration, the modules or the surroundings, which stands on stderr in a line each; more by
`endings`.
"""

import argparse
import importlib
import logging
import os
import sys
from collections.abc import Sequence
from typing import NoReturn

from .arguments import new_parser
from .endings import guarded


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; the exit code. Contracts and services are found from the current folder."""
    options = argparse.Namespace()
    words = list(sys.argv[1:] if argv is None else argv)
    return guarded(lambda: _run(words, options), watches=lambda: getattr(options, "watch", False))


def _run(argv: list[str], options: argparse.Namespace) -> int:
    vars(options).update(vars(new_parser().parse(argv)), argv=argv)
    sys.path.append(os.getcwd())  # noqa: PTH109 - last: no stray file may stand in for a library
    try:
        return _command(options)
    except Exception as error:
        from .faults import lines_of  # noqa: PLC0415 - knows the errors of all parts, so imports them

        lines = lines_of(error)
        if lines is None:
            raise  # a fault of ours: its traceback is what helps
        for line in lines:
            print(f"busgate: {line}", file=sys.stderr)
        return 2


def _command(options: argparse.Namespace) -> int:
    module = importlib.import_module(f"busgate.ops.commands.{options.command}")
    _silence()
    code: int = module.run(options)
    return code


def _silence() -> None:
    """Print nothing of what is logged: a command says itself what is wrong, in a line. Who serves sets up its logs."""
    import structlog  # noqa: PLC0415 - not for --help

    def drop(*_: object) -> NoReturn:
        raise structlog.DropEvent

    structlog.configure(processors=[drop])
    logging.basicConfig(handlers=[logging.NullHandler()])


if __name__ == "__main__":
    sys.exit(main())
