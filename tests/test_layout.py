"""The traps of one distribution with five source roots and a namespace package (ADR-0001)."""

import tomllib
from importlib.metadata import version
from pathlib import Path

ROOT = Path(__file__).parents[1]
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
PARTS = sorted(folder.parent.name for folder in ROOT.glob("*/busgate"))


def test_no_part_takes_the_namespace_for_itself() -> None:
    """One `__init__.py` there hides the other parts in editable installs, while the wheel stays green."""
    assert list(ROOT.glob("*/busgate/__init__.py")) == []


def test_each_source_root_holds_the_one_part_of_its_name() -> None:
    held = {part: [package.name for package in (ROOT / part / "busgate").glob("[!_]*")] for part in PARTS}

    assert held == {part: [part] for part in ("bus", "contracts", "edge", "ops", "workers")}


def test_each_part_is_a_typed_package() -> None:
    """A marker at the level of the namespace is not seen by those who install editable."""
    for part in PARTS:
        package = ROOT / part / "busgate" / part
        assert (package / "py.typed").exists()
        assert (package / "__init__.py").exists()


def test_the_build_the_type_checker_and_coverage_know_every_part() -> None:
    build = PYPROJECT["tool"]["hatch"]["build"]
    mypy = PYPROJECT["tool"]["mypy"]

    assert build["targets"]["wheel"]["packages"] == [f"{part}/busgate" for part in PARTS]
    assert build["dev-mode-dirs"] == PARTS
    assert set(PARTS) < set(mypy["mypy_path"])
    assert set(PARTS) < set(mypy["files"])
    assert PYPROJECT["tool"]["coverage"]["run"]["source"] == PARTS
    assert sorted(PYPROJECT["tool"]["importlinter"]["root_packages"]) == [f"busgate.{part}" for part in PARTS]


def test_what_is_installed_is_this_version() -> None:
    assert version("busgate") == PYPROJECT["project"]["version"]
