"""`busgate new`: what it lays out works at once, and what it must not touch it leaves alone."""

import asyncio
import json
import os
import signal
import stat
import subprocess
import sys
import tomllib
import urllib.request
from pathlib import Path

import pytest
from support.command import Run, Start
from support.management import Vhost

from busgate.ops import project
from busgate.ops.faults import CommandError

_open = urllib.request.build_opener(urllib.request.ProxyHandler({})).open


def run_in(folder: Path, *command: str) -> subprocess.CompletedProcess[str]:
    """Run a module as the author would, in the project."""
    arguments = [sys.executable, "-P", "-m", *command]
    return subprocess.run(arguments, cwd=folder, capture_output=True, text=True, timeout=120, check=False)


@pytest.fixture
def fresh(run: Run, folder: Path) -> Path:
    """A new project, `my-shop`."""
    done = run("new", "my-shop")
    assert (done.returncode, done.stderr) == (0, "")
    return folder / "my-shop"


def test_it_says_what_to_do_next(run: Run) -> None:
    done = run("new", "shop")

    commands = [line.strip() for line in done.stdout.splitlines() if line.startswith("  ")]
    assert commands == ["cd shop", "pip install -e '.[dev]'", "pytest", "busgate dev"]


def test_its_own_tests_pass(fresh: Path) -> None:
    done = run_in(fresh, "pytest", "-W", "error", "-p", "no:asyncio", "-p", "no:cacheprovider")

    assert done.returncode == 0, done.stdout + done.stderr
    assert "3 passed" in done.stdout


async def test_its_own_tests_pass_on_a_rabbitmq(fresh: Path, vhost: Vhost) -> None:
    options = ["-p", "no:asyncio", "-p", "no:cacheprovider", "--busgate-bus", vhost.url]
    done = await asyncio.to_thread(run_in, fresh, "pytest", *options)

    assert "3 passed" in done.stdout, done.stdout + done.stderr
    assert "busgate.calls" in await vhost.exchanges()


@pytest.mark.slow
def test_its_types_are_right(fresh: Path) -> None:
    done = run_in(fresh, "mypy", "--cache-dir", os.devnull)

    assert done.returncode == 0, done.stdout
    assert "no issues found in 4 source files" in done.stdout


def test_its_configuration_is_right(fresh: Path) -> None:
    done = run_in(fresh, "busgate.ops.main", "check")

    assert (done.returncode, done.stderr) == (0, "")
    assert "GET  /greetings/{name}  my-shop.greet.v1  public" in done.stdout
    assert "no service here handles" not in done.stdout


async def test_it_starts_and_answers(fresh: Path, start: Start, vhost: Vhost, free_port: int) -> None:
    bus = {"BUSGATE_BUS__URL": vhost.url, "PYTHONPATH": str(fresh)}
    options = "--config", str(fresh / "busgate.toml"), "--log-level", "info"
    worker = await start("worker", *options, **bus)
    edge = await start("edge", *options, "--port", str(free_port), "--admin-port", "0", **bus)
    await worker.until("worker ready")
    await edge.until("edge ready")

    def ask() -> object:
        with _open(f"http://127.0.0.1:{free_port}/greetings/Ada", timeout=20) as answer:
            return json.loads(answer.read())

    assert await asyncio.to_thread(ask) == {"text": "Hello, Ada!"}
    for process in (edge, worker):
        process.signal(signal.SIGTERM)
        assert await process.ended() == 0


@pytest.mark.slow
def test_it_can_be_built_and_the_package_is_typed(fresh: Path) -> None:
    done = run_in(fresh, "build", "--wheel", "--outdir", "dist")

    assert done.returncode == 0, done.stdout + done.stderr
    names = subprocess.run(
        [sys.executable, "-m", "zipfile", "-l", *map(str, (fresh / "dist").glob("*.whl"))],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert "my_shop/services.py" in names
    assert "my_shop/py.typed" in names
    assert "test" not in names


def test_its_image_gets_what_it_needs_and_runs_without_rights(fresh: Path) -> None:
    lines = [line.split() for line in (fresh / "Dockerfile").read_text().splitlines() if line and line[0] != "#"]
    copied = {word.rstrip("/") for line in lines if line[0] == "COPY" for word in line[1:-1]}
    ignored = (fresh / ".dockerignore").read_text().split()

    assert copied == {"busgate.toml", "my_shop", "pyproject.toml"}
    assert {f"!{name}" for name in copied} <= set(ignored)
    assert ["USER", "app"] in lines
    assert lines[-1][0] == "CMD"


def test_it_looks_as_if_made_by_hand(fresh: Path) -> None:
    texts = {path: path.read_text() for path in fresh.rglob("*") if path.is_file()}

    assert {str(path.relative_to(fresh)) for path in texts} == {
        ".dockerignore",
        ".gitignore",
        "Dockerfile",
        "README.md",
        "busgate.toml",
        "my_shop/__init__.py",
        "my_shop/contracts.py",
        "my_shop/py.typed",
        "my_shop/services.py",
        "pyproject.toml",
        "tests/test_my_shop.py",
    }
    assert not [path for path, text in texts.items() if "$package" in text or "$name" in text or "$$" in text]
    assert stat.S_IMODE(fresh.stat().st_mode) == 0o777 & ~project._umask()
    assert tomllib.loads(texts[fresh / "pyproject.toml"])["project"]["name"] == "my-shop"


@pytest.mark.parametrize(
    "name",
    ["", "Shop", "a b", "shop!", "a--b", "-a", "a-", "../shop", "/tmp/shop", ".", "ünicode", "1st", "a" * 41, "a\nb"],
)
def test_a_bad_name_is_refused_in_one_line(run: Run, folder: Path, name: str) -> None:
    before = sorted(folder.iterdir())

    done = run("new", "--", name)

    (line,) = done.stderr.splitlines()
    assert line.startswith("busgate: '")
    assert "a name is lower-case letters, digits and single hyphens, like my-shop" in line
    assert (done.returncode, done.stdout, sorted(folder.iterdir())) == (2, "", before)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("json", "Python or busgate uses this name itself"),
        ("class", "Python or busgate uses this name itself"),
        ("tests", "Python or busgate uses this name itself"),
        ("busgate", "Python or busgate uses this name itself"),
        ("pydantic", "a package pydantic is installed here and would be found instead"),
        ("aio-pika", "a package aio_pika is installed here and would be found instead"),
    ],
)
def test_a_name_that_python_would_find_elsewhere_is_refused(run: Run, name: str, words: str) -> None:
    done = run("new", name)

    assert done.stderr.startswith(f"busgate: '{name}': {words}")
    assert done.returncode == 2


@pytest.mark.parametrize("what", ["folder", "file", "link"])
def test_nothing_is_overwritten(run: Run, folder: Path, what: str) -> None:
    place = folder / "shop"
    match what:
        case "folder":
            place.mkdir()
        case "file":
            place.write_text("mine")
        case _:
            place.symlink_to("nowhere")
    before = sorted(folder.rglob("*"))

    done = run("new", "shop")

    assert done.stderr == "busgate: 'shop': is there already; nothing was changed\n"
    assert (done.returncode, sorted(folder.rglob("*"))) == (2, before)


def test_a_folder_that_cannot_be_written_to_is_told_in_one_line(folder: Path) -> None:
    with pytest.raises(CommandError) as refused:
        project.Project("shop").make(folder / "missing")

    assert refused.value.faults == ["'shop': cannot be written: No such file or directory"]


@pytest.mark.parametrize("error", [KeyboardInterrupt(), OSError(28, "No space left on device")])
def test_what_is_interrupted_leaves_nothing(
    folder: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    before = sorted(folder.iterdir())
    written: list[str] = []

    def write_text(path: Path, text: str, **_: object) -> int:
        written.append(path.name)
        if len(written) == 5:
            raise error
        return len(path.name)

    monkeypatch.setattr(Path, "write_text", write_text)

    with pytest.raises((KeyboardInterrupt, CommandError)):
        project.Project("shop").make(folder)

    assert len(written) == 5
    assert sorted(folder.iterdir()) == before
