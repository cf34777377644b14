"""`busgate new`: lay out a small service project that passes its own tests at once."""

import argparse
from pathlib import Path

from busgate.ops.project import Project

_NEXT = """\
{name} is laid out: a contract, a handler, a test. Next:

  cd {name}
  pip install -e '.[dev]'
  pytest
  busgate dev
"""


def run(options: argparse.Namespace) -> int:
    project = Project(options.name)
    project.make(Path.cwd())
    print(_NEXT.format(name=project.name), end="")
    return 0
