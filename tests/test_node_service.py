"""Node.js for the tests is there, is installed, or is asked for in one line; nothing is left out in silence."""

import subprocess
from pathlib import Path

import pytest
from support import node_service
from support.node_service import NodeJsError, prepare_node_service


def silent(_: str) -> None: ...


@pytest.fixture
def bare(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine without node and npm."""
    monkeypatch.setattr(node_service, "_commands", lambda: False)


def test_without_node_and_the_right_to_install_it_one_line_says_what_is_missing(
    bare: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(node_service, "can_install", lambda: False)

    with pytest.raises(NodeJsError) as caught:
        prepare_node_service(silent)

    assert str(caught.value) == "no Node.js for the tests: install node 20 or newer and npm"


def test_an_installation_that_fails_is_told_with_its_reason(bare: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(node_service, "can_install", lambda: True)
    monkeypatch.setattr(node_service, "install", lambda *packages: f"apt-get install {' '.join(packages)} failed")
    said: list[str] = []

    with pytest.raises(NodeJsError, match=r"apt-get install nodejs npm failed"):
        prepare_node_service(said.append)

    assert said == ["installing nodejs and npm for the tests (apt-get)"]


def test_a_node_that_is_too_old_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(node_service, "_commands", lambda: True)
    monkeypatch.setattr(node_service, "_run", lambda *_: subprocess.CompletedProcess([], 0, "v18.19.0\n", ""))

    with pytest.raises(NodeJsError, match=r"found v18\.19\.0"):
        prepare_node_service(silent)


def test_packages_are_installed_once_for_a_lock_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    runs: list[tuple[str, ...]] = []

    def run(*command: str) -> subprocess.CompletedProcess[str]:
        runs.append(command)
        (tmp_path / "node_modules").mkdir(exist_ok=True)
        return subprocess.CompletedProcess(command, 0, "v20.0.0", "")

    (tmp_path / "package-lock.json").write_text("{}")
    monkeypatch.setattr(node_service, "FOLDER", tmp_path)
    monkeypatch.setattr(node_service, "_commands", lambda: True)
    monkeypatch.setattr(node_service, "_run", run)

    for _ in range(2):
        prepare_node_service(silent)
    (tmp_path / "package-lock.json").write_text('{"a": 1}')
    prepare_node_service(silent)

    assert [command[0] for command in runs if command[0] == "npm"] == ["npm", "npm"]
