"""docs/operating.md names every command and every metric, and none that does not exist."""

import dataclasses
import re
from pathlib import Path

from busgate.bus.counters import Counters
from busgate.ops.arguments import new_parser

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "operating.md").read_text(encoding="utf-8")
BUILDERS = {"check", "openapi", "new", "dev", "demo", "edge", "worker", "completion"}
"""Commands for who builds and runs; the page is about those for who operates."""

_NAMED = re.compile(r"\b(?:family|one|histograms|_each)\(\s*f?\"([a-z_]+(?:\{[^}]+\}[a-z_]*)?)\"", re.DOTALL)


def metrics_in_the_code() -> set[str]:
    names = set()
    for part in ("bus", "edge", "workers"):
        for path in (ROOT / part / "busgate").rglob("*.py"):
            names |= set(_NAMED.findall(path.read_text(encoding="utf-8")))
    counters = [counter.name for counter in dataclasses.fields(Counters)]
    plain = {name for name in names if "{" not in name}
    return {f"busgate_{name}" for name in plain} | {f"busgate_bus_{name}_total" for name in counters}


def test_every_metric_is_on_the_page_and_no_other() -> None:
    on_the_page = set(re.findall(r"`(busgate_[a-z_]+)`", PAGE))

    assert on_the_page == metrics_in_the_code()


def test_every_command_of_an_operator_is_on_the_page() -> None:
    commands = set(new_parser().commands) - BUILDERS
    on_the_page = set(re.findall(r"busgate ([a-z]+)", PAGE))

    assert commands <= on_the_page
    assert on_the_page - set(new_parser().commands) == set()
