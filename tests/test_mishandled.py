"""Inputs that gateways are known to mishandle, by id in a list: each must be in a test that says so.

J: JSON bodies; K: media types; T: bearer tokens; W: values that must not reach the broker as they are.
"""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

TESTS = Path(__file__).parent
ROWS = [line.split("\t") for line in (TESTS / "data" / "mishandled.tsv").read_text().splitlines()[1:]]
ID = re.compile(r"\b[JKTW][0-9]{2}\b")


def named(text: str) -> Iterator[str]:
    """The ids in the docstrings and the names of rows of a module: what is only in a comment runs nothing."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield from ID.findall(node.value)


TESTED = {
    name
    for path in TESTS.rglob("test_*.py")
    if path != Path(__file__)
    for name in named(path.read_text(encoding="utf-8"))
}


@pytest.mark.parametrize(("name", "must", "about"), ROWS, ids=[row[0] for row in ROWS])
def test_every_mishandled_input_has_a_test(name: str, must: str, about: str) -> None:
    assert name in TESTED, f"no test names {name}: {about} must be {must}"


def test_no_test_names_an_input_that_is_not_in_the_list() -> None:
    assert {row[0] for row in ROWS} >= TESTED
