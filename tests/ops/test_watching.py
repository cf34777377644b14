"""What counts as a change, and where is looked for one."""

import os
from pathlib import Path

import pytest

from busgate.ops.watching import Roots, Watch, forget_compiled, roots_of


@pytest.fixture
def package(tmp_path: Path) -> Path:
    package = tmp_path / "shop"
    (package / "inner").mkdir(parents=True)
    (package / "contracts.py").write_text("x = 1")
    (package / "inner" / "deep.py").write_text("x = 1")
    return package


def watching(*trees: Path, files: frozenset[Path] = frozenset()) -> Watch:
    watch = Watch()
    watch.add(Roots(trees=frozenset(trees), files=files))
    return watch


def test_files_that_change_come_and_go_are_changes_once(package: Path) -> None:
    watch = watching(package)
    before = watch.changes()

    (package / "contracts.py").write_text("x = 12")
    (package / "new.py").touch()
    (package / "inner" / "deep.py").unlink()
    changed = watch.changes()

    assert before == []
    assert changed == [str(package / name) for name in ("contracts.py", "inner/deep.py", "new.py")]
    assert watch.changes() == []


def test_a_change_that_keeps_the_size_is_one(package: Path) -> None:
    watch = watching(package)

    (package / "contracts.py").write_text("x = 2")
    os.utime(package / "contracts.py", ns=(0, 1))

    assert watch.changes() == [str(package / "contracts.py")]


def test_what_is_no_python_and_what_python_compiled_is_left_alone(package: Path) -> None:
    (package / "__pycache__").mkdir()
    (package / ".hidden").mkdir()
    watch = watching(package)

    for name in ("data.json", "__pycache__/contracts.py", ".hidden/x.py", "notes.py.swp"):
        (package / name).write_text("x")

    assert watch.changes() == []


def test_a_file_that_is_not_there_yet_is_seen_when_it_comes(tmp_path: Path) -> None:
    file = tmp_path / "busgate.toml"
    watch = watching(files=frozenset({file}))

    file.touch()

    assert watch.changes() == [str(file)]


def test_to_look_at_more_swallows_no_change_of_what_was_looked_at(package: Path) -> None:
    watch = watching(package)

    (package / "made.py").touch()
    watch.add(Roots(files=frozenset({package / "made.py", package / "contracts.py"})))

    assert watch.changes() == [str(package / "made.py")]


def test_packages_are_looked_at_whole_and_lone_modules_with_their_neighbours(
    package: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (package.parent / "lone.py").touch()
    monkeypatch.syspath_prepend(str(package.parent))

    roots = roots_of(["shop.contracts", "lone", "nowhere.at.all"])

    assert (set(roots.trees), set(roots.folders)) == ({package}, {package.parent})


def test_a_tree_that_cannot_be_read_is_no_error(tmp_path: Path) -> None:
    assert watching(tmp_path / "nowhere").changes() == []


def test_what_python_compiled_of_a_file_is_forgotten(package: Path) -> None:
    compiled = package / "__pycache__"
    compiled.mkdir()
    import importlib.util

    cached = Path(importlib.util.cache_from_source(str(package / "contracts.py")))
    cached.touch()

    forget_compiled([str(package / "contracts.py"), str(package / "nowhere.py"), "not a module"])

    assert not cached.exists()
