"""Which Python files changed, by looking at them again and again.

Looking costs a process with a thousand files some milliseconds, needs no thread (the process forks), no package, and
sees what network and container file systems never announce. `pause` keeps it under a tenth of one CPU.
"""

import importlib
import importlib.util
import os
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from importlib.machinery import PathFinder
from pathlib import Path

from .authors import is_of_the_author

EVERY = 0.1
"""Seconds between two looks, where looking is quick."""
SHARE = 10
"""Looks take at most one part in so many of the time."""
QUIET = 0.05
"""Seconds without a change after which an editor, or a checkout, is done."""
NOISY = 1.0
"""Seconds after which nobody waits for that any more."""

Stamp = tuple[int, int, int]


@dataclass(frozen=True, slots=True)
class Roots:
    """What to look at.

    Args:
        trees: folders, with all below them.
        folders: folders, without.
        files: one by one; they need not be there.
    """

    trees: frozenset[Path] = frozenset()
    folders: frozenset[Path] = frozenset()
    files: frozenset[Path] = frozenset()

    def __contains__(self, file: Path) -> bool:
        return (
            file in self.files or file.parent in self.folders or any(file.is_relative_to(tree) for tree in self.trees)
        )

    def __or__(self, other: "Roots") -> "Roots":
        return Roots(self.trees | other.trees, self.folders | other.folders, self.files | other.files)

    def __sub__(self, other: "Roots") -> "Roots":
        return Roots(self.trees - other.trees, self.folders - other.folders, self.files - other.files)


@dataclass(slots=True)
class Watch:
    """The state of files when they were last looked at."""

    roots: Roots = Roots()
    pause: float = EVERY
    _seen: dict[str, Stamp] = field(default_factory=dict)

    def add(self, roots: Roots) -> None:
        """Look at these too from now on. Whatever else changed since the last look is still a change."""
        more = Roots(roots.trees, roots.folders, frozenset(each for each in roots.files if each not in self.roots))
        self._seen = dict(_stamps(more - self.roots)) | self._seen
        self.roots |= more

    def changes(self) -> list[str]:
        """The files that changed, came or went since the last look, once they are quiet."""
        changed = self._changes()
        end = time.monotonic() + NOISY
        while changed and time.monotonic() < end:
            time.sleep(QUIET)
            more = self._changes()
            if not more:
                break
            changed |= more
        return sorted(changed)

    def _changes(self) -> set[str]:
        before, self._seen = self._seen, self._look()
        return {name for name, _ in before.items() ^ self._seen.items()}

    def _look(self) -> dict[str, Stamp]:
        begun = time.monotonic()
        found = dict(_stamps(self.roots))
        self.pause = max(EVERY, (time.monotonic() - begun) * SHARE)
        return found


def roots_of(modules: Iterable[str]) -> Roots:
    """Where modules stand, or would: their packages, and the files beside those that are in none."""
    importlib.invalidate_caches()
    trees, folders = set(), set()
    for top in {name.partition(".")[0] for name in modules}:
        spec = PathFinder.find_spec(top)
        if spec is None:
            continue
        if spec.submodule_search_locations:
            trees |= {Path(place) for place in spec.submodule_search_locations}
        elif spec.origin:
            folders.add(Path(spec.origin).parent)
    return Roots(frozenset(trees), frozenset(folders))


def files_of_the_author() -> list[str]:
    """The files of all modules of the author that were imported."""
    files = {getattr(module, "__file__", None) for module in list(sys.modules.values())}
    return sorted(file for file in files if file and is_of_the_author(file))


def forget_compiled(files: Iterable[str]) -> None:
    """Delete what Python compiled: it tells versions apart by whole seconds and size, which is too coarse here."""
    for file in files:
        with suppress(OSError, ValueError, NotImplementedError):
            os.unlink(importlib.util.cache_from_source(file))  # noqa: PTH108 - a text


def _stamps(roots: Roots) -> Iterator[tuple[str, Stamp]]:
    for file in roots.files:
        with suppress(OSError):
            yield str(file), _stamp(os.stat(file))  # noqa: PTH116 - a look is to be quick
    for folder in roots.folders:
        yield from _in_folder(str(folder), deep=False)
    for tree in roots.trees:
        yield from _in_folder(str(tree), deep=True)


def _in_folder(folder: str, *, deep: bool) -> Iterator[tuple[str, Stamp]]:
    with suppress(OSError), os.scandir(folder) as entries:  # it went, or is not ours to read
        for entry in entries:
            with suppress(OSError):
                if entry.name.endswith(".py"):
                    yield entry.path, _stamp(entry.stat())
                elif deep and not entry.name.startswith((".", "__")) and entry.is_dir(follow_symlinks=False):
                    yield from _in_folder(entry.path, deep=True)


def _stamp(status: os.stat_result) -> Stamp:
    return status.st_mtime_ns, status.st_size, status.st_ino
