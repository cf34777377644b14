"""What docs/security.md says of signed callers is what an operator can paste."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from busgate.bus.signed import SigningKey

ROOT = Path(__file__).parents[1]
SECTION = (ROOT / "docs" / "security.md").read_text().partition("## Signed callers")[2].partition("\n## ")[0]
HELLO = """\
from pydantic import BaseModel
from busgate.contracts import Call, http

class Nothing(BaseModel):
    pass

check_stock = Call("shop.stock.check.v1", http.get("/stock"), request=Nothing, reply=Nothing, DELEGATES)
place_order = Call("shop.orders.place.v1", http.get("/order"), request=Nothing, reply=Nothing)
"""


def block(name: str) -> str:
    found = re.search(rf"<!-- signing: {name} -->\n```\w+\n(.*?)```", SECTION, re.DOTALL)
    assert found is not None, name
    return found[1]


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A shop that is laid out as the page says, step by step."""
    for line in block("a key").splitlines():
        subprocess.run(line.removeprefix("$ "), shell=True, check=True, cwd=tmp_path, timeout=30)
    issuer = '[[edge.jwt]]\nissuer = "i"\naudience = "a"\nkeys = [{ secret = "01234567890123456789012345678901" }]\n'
    tables = "".join((block("the edge"), block("the workers"), issuer))
    modules = '[edge]\ncontracts = ["contracts"]\n[worker]\nservices = ["services:orders"]\n'
    (tmp_path / "busgate.toml").write_text(modules + tables)
    (tmp_path / "busgate.toml").chmod(0o600)
    delegates = re.search(r"delegates=\{[^}]*\}", block("delegates"))
    assert delegates is not None
    (tmp_path / "contracts.py").write_text(HELLO.replace("DELEGATES", delegates[0]))
    (tmp_path / "services.py").write_text(
        "from busgate.workers import Context, Service\nfrom contracts import Nothing, check_stock, place_order\n"
        + block("a service")
        + "@orders.handles(place_order)\nasync def place(request: Nothing, context: Context) -> Nothing:\n"
        "    return await context.call(check_stock, request)\n"
    )
    return tmp_path


def busgate(project: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "busgate.ops.main", *arguments]
    return subprocess.run(command, cwd=project, capture_output=True, text=True, timeout=60, check=False)


def test_the_key_that_the_page_makes_signs_and_nobody_else_can_read_it(project: Path) -> None:
    (key,) = (project / "signing").iterdir()

    assert SigningKey(key.read_bytes()).kid
    assert key.stat().st_mode & 0o077 == 0
    assert key.parent.stat().st_mode & 0o077 == 0


def test_the_configuration_and_the_service_of_the_page_pass_the_check(project: Path) -> None:
    checked = busgate(project, "check")

    assert (checked.returncode, checked.stderr) == (0, "")
    assert "shop.orders.place.v1" in checked.stdout


def test_the_permissions_of_the_page_are_printed_from_its_configuration(project: Path) -> None:
    lines = busgate(project, "permissions", "--kind", "topic")
    definitions = busgate(project, "permissions", "--kind", "topic", "--format", "definitions")

    assert (
        "rabbitmqctl set_topic_permissions -p / worker-orders busgate.calls '^shop\\.stock\\.check\\.v1$' '^$'"
        in lines.stdout
    )
    assert (definitions.returncode, definitions.stderr) == (0, "")
