"""A new service project: which files it has, what it may be called, and how it comes into a folder in one piece."""

import importlib.util
import keyword
import os
import re
import shutil
import sys
import tempfile
from dataclasses import dataclass
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path
from string import Template

from .faults import CommandError

FILES = {
    ".dockerignore": "dockerignore.in",
    ".gitignore": "gitignore.in",
    "Dockerfile": "Dockerfile.in",
    "README.md": "README.md.in",
    "busgate.toml": "busgate.toml.in",
    "pyproject.toml": "pyproject.toml.in",
    "$package/__init__.py": None,
    "$package/contracts.py": "contracts.py.in",
    "$package/py.typed": None,
    "$package/services.py": "services.py.in",
    "tests/test_$package.py": "test.py.in",
}
"""Where each file goes, and what is in it: a template of this package, or nothing."""

_NAME = re.compile(r"[a-z][a-z0-9]*([-_][a-z0-9]+)*")
_LONGEST = 40
_TAKEN = {"busgate", "test", "tests"}


@dataclass(frozen=True, slots=True)
class Project:
    """A project that is not there yet.

    Raises:
        CommandError: the name is none for a project, or for the Python package in it.
    """

    name: str

    def __post_init__(self) -> None:
        if fault := self._fault():
            raise CommandError([f"{self.name!r}: {fault}"])

    def _fault(self) -> str | None:
        if not _NAME.fullmatch(self.name) or len(self.name) > _LONGEST:
            return f"a name is lower-case letters, digits and single hyphens, like my-shop; at most {_LONGEST}"
        if keyword.iskeyword(self.package) or self.package in _TAKEN or self.package in sys.stdlib_module_names:
            return "Python or busgate uses this name itself; choose another one"
        if _is_installed(self.package):
            return f"a package {self.package} is installed here and would be found instead; choose another name"
        return None

    @property
    def package(self) -> str:
        """The name of its Python package."""
        return self.name.replace("-", "_")

    def make(self, folder: Path) -> Path:
        """Lay it out as a new folder in `folder`: whole, or not at all.

        Raises:
            CommandError: there is something of this name, or the folder cannot be written to.
        """
        place = folder / self.name
        if place.exists() or place.is_symlink():
            raise CommandError([f"{self.name!r}: is there already; nothing was changed"])
        try:
            scratch = Path(tempfile.mkdtemp(prefix=f".{self.name}-", dir=folder))
            try:
                self._write(scratch)
                scratch.chmod(0o777 & ~_umask())
                scratch.rename(place)
            except BaseException:
                shutil.rmtree(scratch, ignore_errors=True)
                raise
        except OSError as error:
            raise CommandError([f"{self.name!r}: cannot be written: {error.strerror}"]) from error
        return place

    def _write(self, root: Path) -> None:
        words = {"name": self.name, "package": self.package, "version": version("busgate")}
        templates = files("busgate.ops") / "template"
        for name, template in FILES.items():
            path = root / Template(name).substitute(words)
            path.parent.mkdir(exist_ok=True)
            text = (templates / template).read_text(encoding="utf-8") if template else ""
            path.write_text(Template(text).substitute(words), encoding="utf-8")


def _is_installed(package: str) -> bool:
    found = importlib.util.find_spec(package)
    return found is not None and found.origin is not None  # a folder without code is none


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
