"""`busgate config`: what holds and where it came from, without secrets; and the reference, which the page repeats."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel
from support.command import Run

from busgate.ops.config import load
from busgate.ops.config_document import document
from busgate.ops.config_faults import table_of
from busgate.ops.config_reference import meanings, references
from busgate.ops.edge_settings import Settings

PAGE = Path(__file__).parents[2] / "docs" / "config.md"
FILE = """\
[bus]
url = ["amqps://u:hunter2@one.example/shop", { env = "SECOND" }]
[edge]
port = 1
contracts = "shop.contracts"
[edge.limits]
header = 2.5
[[edge.jwt]]
issuer = "one"
audience = "shop"
keys = [{ kid = "a", secret = "hunter2://hunter2:hunter2@hunter2hunter2" }]
[[edge.jwt]]
issuer = "two"
any_audience = true
[[edge.jwt.keys]]
secret = { file = "secret" }
"""


@pytest.fixture
def show(run: Run, folder: Path) -> Any:
    (folder / "secret").write_text("hunter2" * 5)
    (folder / "secret").chmod(0o600)
    (folder / "busgate.toml").write_text(FILE)

    def show(*arguments: str) -> Any:
        done = run(
            *("config", "show", *arguments),
            SECOND="amqps://u:hunter2@two.example/shop",
            BUSGATE_EDGE__PROCESSES="2",
            BUSGATE_EDGE__LIMITS='{"body": 5}',
        )
        assert (done.returncode, done.stderr) == (0, "")
        assert "hunter2" not in done.stdout
        return done.stdout

    return show


def test_every_value_is_shown_with_where_it_came_from(show: Any) -> None:
    shown = json.loads(show("--json", "--log-level", "debug"))

    expected = {
        "bus.url": (["amqps://u:********@one.example/shop", {"env": "SECOND"}], "busgate.toml:2"),
        "bus.password": (None, "default"),
        "edge.port": (1, "busgate.toml:4"),
        "edge.contracts": (["shop.contracts"], "busgate.toml:5"),
        "edge.processes": (2, "BUSGATE_EDGE__PROCESSES"),
        "edge.limits.body": (5.0, "BUSGATE_EDGE__LIMITS"),
        "edge.limits.header": (10.0, "default"),
        "edge.jwt[0].issuer": ("one", "busgate.toml:9"),
        "edge.jwt[0].keys[0].kid": ("a", "busgate.toml:11"),
        "edge.jwt[0].keys[0].secret": ("********", "busgate.toml:11"),
        "edge.jwt[1].any_audience": (True, "busgate.toml:14"),
        "edge.jwt[1].keys[0].secret": ({"file": "secret"}, "busgate.toml:16"),
        "log.level": ("debug", "command line"),
        "worker.services": ([], "default"),
    }
    assert {key: (shown[key]["value"], shown[key]["origin"]) for key in expected} == expected
    told = {re.sub(r"\[\d\]", "", key) for key in shown}
    keys = {f"{part.heading.strip('[]')}.{value.key}" for part in references(Settings) for value in part.values}
    # A table that is not there is told as such, without its keys.
    assert {key for key in keys if not any(f"{key}.".startswith(f"{each}.") for each in told)} <= {
        "edge.jwt",
        "edge.jwt.keys",
    }


def test_people_get_a_table(show: Any) -> None:
    rows = [line.split() for line in show("--port", "9").splitlines()]

    assert ["edge.port", "9", "command", "line"] in rows
    assert ["edge.jwt[1].keys[0].secret", "{", "file", "=", '"secret"', "}", "busgate.toml:16"] in rows
    assert ["edge.limits.body", "5", "BUSGATE_EDGE__LIMITS"] in rows


def test_a_faulty_configuration_is_told_as_by_every_command(run: Run, folder: Path) -> None:
    (folder / "busgate.toml").write_text("[edge]\nprot = 1\n")

    done = run("config", "show")

    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "busgate: busgate.toml:2: edge.prot: is unknown; did you mean edge.port?\n"


def test_the_page_says_what_the_models_say(run: Run) -> None:
    """If this fails: `make docs`."""
    page = PAGE.read_text()

    assert page.partition("from the models. -->\n\n")[2] == document(Settings)
    assert run("config", "reference").stdout == document(Settings)


def test_the_example_of_the_page_is_right(tmp_path: Path) -> None:
    text = re.search(r"^```toml\n(.*?)^```$", PAGE.read_text(), re.MULTILINE | re.DOTALL)[1]  # type: ignore[index] # or it fails
    (tmp_path / "busgate.toml").write_text(text)
    environ = {"RABBITMQ_PASSWORD": "x", "SHOP_SECRET": "s" * 32}

    settings = load(Settings, tmp_path / "busgate.toml", environ=environ)

    assert settings.edge.contracts == ("shop.contracts",)


def tables(model: type[BaseModel]) -> list[type[BaseModel]]:
    inner = [table for field in model.model_fields.values() if (table := table_of(field.annotation))]
    return inner + [table for each in inner for table in tables(each)]


@pytest.mark.parametrize("table", tables(Settings), ids=lambda table: table.__name__)
def test_the_docstring_of_a_table_says_what_each_of_its_values_means(table: type[BaseModel]) -> None:
    assert set(meanings(table)) == set(table.model_fields)


def test_the_reference_has_type_default_range_name_and_meaning() -> None:
    values = {f"{part.heading} {value.key}": value for part in references(Settings) for value in part.values}

    port, level, keys = values["[edge] port"], values["[log] level"], values["[[edge.jwt]] keys"]
    assert (port.kind, port.default, port.allowed, port.environ) == (
        "integer", "8080", "0 to 65535", "BUSGATE_EDGE__PORT",
    )  # fmt: skip
    assert (level.allowed, level.default) == ('"debug", "info", "warning", "error"', '"info"')
    assert (keys.kind, keys.default, keys.environ) == ("list of tables", "required", "")
    assert values["[bus.tls] key"].kind == "private file"
    assert values["[[edge.jwt.keys]] secret"].kind == "secret"
