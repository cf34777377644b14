"""What the documents show is what works: their examples are taken from the files and run."""

import asyncio
import importlib
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from busgate.bus import Bus, CallContext, Ids
from busgate.bus.embedded import EmbeddedBroker
from busgate.contracts import PreCallQuestion
from busgate.workers import load_services, serve
from busgate.workers.testing import Harness

ROOT = Path(__file__).parent.parent
BLOCK = re.compile(r"^```(\w+)\n# (\S+\.(?:py|toml))\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@pytest.fixture
def readme_project(tmp_path: Path) -> Path:
    """The files that README.md shows, laid out as it says."""
    for _, name, text in BLOCK.findall((ROOT / "README.md").read_text()):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    key = rsa.generate_private_key(65537, 2048).public_key()
    (tmp_path / "login.pem").write_bytes(key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    (tmp_path / "login.pem").chmod(0o600)
    return tmp_path


@pytest.fixture
def no_shop() -> Iterator[None]:
    """No package `shop` is imported, and none is left behind: other tests have another one."""

    def forget() -> None:
        for name in [name for name in sys.modules if name == "shop" or name.startswith("shop.")]:
            del sys.modules[name]

    forget()
    yield
    forget()


def run(project: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """With the example shop at hand."""
    environ = os.environ | {"PYTHONPATH": str(ROOT / "examples")}
    command = [sys.executable, "-m", *arguments]
    return subprocess.run(command, cwd=project, env=environ, capture_output=True, text=True, timeout=120, check=False)


def test_the_project_of_the_readme_passes_its_check(readme_project):
    checked = run(readme_project, "busgate.ops.main", "check", "--bus", "memory://")

    assert (checked.returncode, checked.stderr) == (0, "")
    assert "POST" in checked.stdout
    assert "shop.orders.place.v1" in checked.stdout


def test_the_project_of_the_readme_passes_a_strict_type_check(readme_project):
    typed = run(readme_project, "mypy", "--strict", "--no-incremental", "-p", "shop")

    assert typed.returncode == 0, typed.stdout


def test_the_test_of_the_readme_passes_and_is_typed(readme_project):
    tested = run(readme_project, "pytest", "-p", "no:asyncio", "-p", "no:cacheprovider", "tests")
    typed = run(readme_project, "mypy", "--strict", "--no-incremental", "tests")

    assert tested.returncode == 0, tested.stdout + tested.stderr
    assert "1 passed" in tested.stdout
    assert typed.returncode == 0, typed.stdout


async def test_the_service_of_the_readme_answers(readme_project, no_shop, monkeypatch):
    monkeypatch.syspath_prepend(str(readme_project))
    ids = Ids()
    context = CallContext(ids.take(32), b"00-%b-%b-01" % (ids.take(32), ids.take(16)))
    broker = EmbeddedBroker()
    async with asyncio.timeout(10), Bus(broker, name="caller") as caller:
        worker = Bus(broker, name="worker")
        executions = serve(load_services(["shop.services:orders"]), worker)
        async with worker:
            reply = await caller.endpoint("shop.orders.place.v1").call(b'{"sku":"A-1","quantity":2}', context, 5.0)
        for execution in executions:
            execution.close()

    assert (reply.type, reply.body) == (b"reply", b'{"id":1,"sku":"A-1","quantity":2}')


@pytest.mark.parametrize("name", ["authentication.md", "contracts.md", "errors.md", "security.md", "tracing.md"])
def test_every_configuration_that_a_page_shows_passes_its_check(tmp_path, name):
    blocks = [text for _, file, text in BLOCK.findall((ROOT / "docs" / name).read_text()) if file == "busgate.toml"]
    for text in blocks:
        file = tmp_path / "busgate.toml"
        file.write_text(text)
        file.chmod(0o600)
        checked = run(tmp_path, "busgate.ops.main", "check")

        assert (checked.returncode, checked.stderr) == (0, "")
    assert blocks


def test_the_explanation_of_the_page_on_security_is_what_is_printed(tmp_path):
    page = (ROOT / "docs" / "security.md").read_text().partition("## Who may call what")[2]
    (tmp_path / "busgate.toml").write_text(BLOCK.findall(page)[0][2])
    command, _, said = page.partition("```\n$ busgate ")[2].partition("```")[0].partition(" --address 10.20.3.4\n")

    done = run(tmp_path, "busgate.ops.main", *shlex.split(command.replace("\\\n", "")), "--address", "10.20.3.4")

    assert done.stderr == ""
    assert done.stdout == said


def test_the_examples_of_a_contract_are_shown_as_they_are_written(no_shop, monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "examples"))
    section = (ROOT / "docs" / "contracts.md").read_text().partition("## Examples")[2]
    (code,) = re.findall(r"```python\n(.*?)```", section.partition("\n## ")[0], re.DOTALL)
    names = vars(importlib.import_module("shop.contracts")).copy()

    exec(code, names)

    assert [example.title for example in names["place_order"].examples] == ["Two of what is in stock", "None left"]


def test_every_link_between_documents_leads_somewhere():
    broken = [
        f"{document.relative_to(ROOT)}: {target}"
        for document in [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")]
        for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", document.read_text())
        if not (document.parent / target).exists()
    ]

    assert broken == []


async def test_the_service_of_the_page_on_authentication_decides(no_shop):
    page = (ROOT / "docs" / "authentication.md").read_text().partition("## A service that decides")[2]
    names: dict[str, Any] = {}
    exec(re.findall(r"```python\n(.*?)```", page, re.DOTALL)[0], names)
    harness = Harness()

    async with harness.serving(names["auth"]):
        ask = partial(harness.call, names["decide"])
        good = await ask(PreCallQuestion(topic="t.v1", headers={"x-session": "s3cret"}))
        bad = await ask(PreCallQuestion(topic="t.v1"))

    assert (good.subject, good.seconds, bad.allowed) == ("ann", 60, False)
