"""`busgate completion SHELL`: a script that completes the command line."""

import argparse

from busgate.ops.arguments import new_parser
from busgate.ops.completion import SHELLS


def run(options: argparse.Namespace) -> int:
    print(SHELLS[options.shell](new_parser()), end="")
    return 0
