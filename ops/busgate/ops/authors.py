"""What is the author's: files that are not of Python, of installed packages or of busgate; and what stands where."""

import ast
import site
import sys
import sysconfig
from functools import cache
from pathlib import Path


def is_of_the_author(file: str) -> bool:
    """Whether a file of Python code was written by who uses busgate."""
    return file.endswith(".py") and not file.startswith(_foreign())


def place_of(value: object) -> str:
    """File and line where a value got its name at the top level of a module of the author; empty: nowhere is known."""
    for module in list(sys.modules.values()):
        file = getattr(module, "__file__", None) or ""
        if is_of_the_author(file):
            names = {name for name, each in vars(module).items() if each is value}
            for statement in _statements(file) if names else ():
                if isinstance(statement, ast.Assign | ast.AnnAssign) and names & _names(statement):
                    return f"{relative(file)}:{statement.lineno}"
    return ""


def relative(file: str) -> str:
    """A file as seen from the current folder."""
    path = Path(file)
    return str(path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path)


def _statements(file: str) -> list[ast.stmt]:
    try:
        return ast.parse(Path(file).read_bytes()).body
    except (OSError, SyntaxError, ValueError):  # it changed since it was imported
        return []


def _names(statement: ast.Assign | ast.AnnAssign) -> set[str]:
    targets = statement.targets if isinstance(statement, ast.Assign) else [statement.target]
    return {target.id for target in targets if isinstance(target, ast.Name)}


@cache
def _foreign() -> tuple[str, ...]:
    paths = sysconfig.get_paths()
    installed = [paths[name] for name in ("stdlib", "platstdlib", "purelib", "platlib")]
    return (*installed, *site.getsitepackages(), *sys.modules["busgate"].__path__, "<")
