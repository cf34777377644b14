"""What the documents show is what works: their examples are taken from the files and run."""

import asyncio
import re
import subprocess
import sys
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from busgate.bus import Bus, CallContext, Ids
from busgate.bus.embedded import EmbeddedBroker
from busgate.workers import load_services, serve

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


def run(project: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", *arguments], cwd=project, capture_output=True, text=True, timeout=120, check=False
    )


def test_the_project_of_the_readme_passes_its_check(readme_project):
    checked = run(readme_project, "busgate.ops.main", "check", "--bus", "memory://")

    assert (checked.returncode, checked.stderr) == (0, "")
    assert "POST" in checked.stdout
    assert "shop.orders.place.v1" in checked.stdout


def test_the_project_of_the_readme_passes_a_strict_type_check(readme_project):
    typed = run(readme_project, "mypy", "--strict", "--no-incremental", "-p", "shop")

    assert typed.returncode == 0, typed.stdout


async def test_the_service_of_the_readme_answers(readme_project, monkeypatch):
    monkeypatch.syspath_prepend(str(readme_project))
    for name in [name for name in sys.modules if name == "shop" or name.startswith("shop.")]:
        monkeypatch.delitem(sys.modules, name)
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


def test_every_link_between_documents_leads_somewhere():
    broken = [
        f"{document.relative_to(ROOT)}: {target}"
        for document in [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")]
        for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", document.read_text())
        if not (document.parent / target).exists()
    ]

    assert broken == []
