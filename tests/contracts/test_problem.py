"""Problems: declared once, typed where they are raised, data on the wire."""

import datetime as dt
import os
import sys
from pathlib import Path
from typing import Any, ClassVar

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mypy import api

from busgate.contracts import Problem
from busgate.contracts.problem import RESERVED


class OutOfStock(Problem):
    """There is not enough in stock.

    More about it.
    """

    status = 409
    sku: str
    available: int = 0
    until: dt.date | None = None


class HTTPQuotaExceeded(OutOfStock):
    status = 429
    type = "https://example.com/problems/quota"
    title = "Too much"
    unit: str


def test_the_declaration_fills_type_and_title():
    class NotThereYet(Problem):
        status = 404

    assert (NotThereYet.type, NotThereYet.title) == ("urn:problem:not-there-yet", "Not there yet")
    assert (OutOfStock.type, OutOfStock.title) == ("urn:problem:out-of-stock", "There is not enough in stock")
    assert (HTTPQuotaExceeded.type, HTTPQuotaExceeded.title) == ("https://example.com/problems/quota", "Too much")


def test_a_problem_is_an_exception_with_its_fields():
    with pytest.raises(OutOfStock) as caught:
        raise OutOfStock("two left", sku="A-1", available=2)

    assert (caught.value.detail, caught.value.sku, caught.value.available) == ("two left", "A-1", 2)
    assert str(caught.value) == "two left"


def test_the_document_is_rfc_9457_with_the_fields_as_members():
    problem = OutOfStock("two left", sku="A-1", until=dt.date(2025, 2, 3))

    assert problem.document() == {
        "type": "urn:problem:out-of-stock",
        "title": "There is not enough in stock",
        "status": 409,
        "outcome": "executed",
        "detail": "two left",
        "sku": "A-1",
        "available": 0,
        "until": "2025-02-03",
    }


def test_a_problem_without_a_detail_says_none():
    assert "detail" not in OutOfStock(sku="a").document()


@settings(deadline=None)
@given(st.text(), st.text(), st.integers(), st.dates() | st.none())
def test_a_document_read_back_is_the_problem(detail: str, sku: str, available: int, until: dt.date | None):
    sent = OutOfStock(detail, sku=sku, available=available, until=until)

    read = OutOfStock.from_document(sent.document() | {"unknown": 1})

    assert read.document() == sent.document()
    assert read.until == until


@pytest.mark.parametrize("document", [{}, {"sku": 1}, {"sku": "a", "available": "many"}, {"sku": "a", "detail": 1}])
def test_a_document_that_does_not_fit_is_a_value_error(document: dict[str, Any]):
    with pytest.raises(ValueError):
        OutOfStock.from_document(document)


@pytest.mark.parametrize("fields", [{}, {"sku": 1}, {"sku": "a", "other": 1}])
def test_fields_that_do_not_fit_are_a_type_error_where_it_is_raised(fields: dict[str, Any]):
    with pytest.raises(TypeError, match="OutOfStock"):
        OutOfStock("x", **fields)


def test_fields_and_their_defaults_are_inherited():
    assert HTTPQuotaExceeded(sku="a", unit="day").document()["available"] == 0


@pytest.mark.parametrize("status", [None, 200, 399, 600, "409"])
def test_a_status_is_4xx_or_5xx(status: Any):
    with pytest.raises(TypeError, match="status"):
        type("Wrong", (Problem,), {} if status is None else {"status": status})


@pytest.mark.parametrize("name", sorted(RESERVED - {"type", "title", "status", "detail"} | {"args", "document"}))
def test_a_field_does_not_take_a_name_that_means_something(name: str):
    with pytest.raises(TypeError, match="reserved"):
        type("Wrong", (Problem,), {"status": 409, "__annotations__": {name: str}, "__module__": __name__})


def test_the_types_of_busgate_are_its_own():
    with pytest.raises(TypeError, match="busgate's own"):
        type("Wrong", (Problem,), {"status": 409, "type": "urn:busgate:timeout"})


def test_class_variables_and_private_names_are_no_fields():
    class WithMore(Problem):
        status = 400
        table: ClassVar[dict[str, int]] = {}
        _note: str = ""

    assert not WithMore.model.model_fields


SNIPPET = """
from typing import assert_type
from busgate.contracts import Call, Nothing, Problem, http

class OutOfStock(Problem):
    status = 409
    sku: str
    available: int = 0

OutOfStock("none left", sku="A-1", available=2)
OutOfStock(sku="A-1")
assert_type(OutOfStock(sku="A-1").sku, str)
Call("a.v1", http.post("/"), request=Nothing, reply=Nothing, errors=[OutOfStock])

OutOfStock("none left", sku=1)  # wrong
OutOfStock("none left")  # wrong
OutOfStock("none left", sku="A-1", colour="red")  # wrong
OutOfStock("none left", "A-1")  # wrong
OutOfStock(7, sku="A-1")  # wrong
OutOfStock(sku="A-1").colour  # wrong
Call("a.v1", http.post("/"), request=Nothing, reply=Nothing, errors=[ValueError])  # wrong
Call("a.v1", http.post("/"), request=str, reply=Nothing)  # wrong
http.post("/", location=1)  # wrong
"""


@pytest.mark.slow
def test_wrong_fields_fail_the_type_checker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Run as an author's project would: its own folder, busgate as it is installed."""
    (tmp_path / "contracts.py").write_text(SNIPPET)
    (tmp_path / "mypy.ini").write_text("[mypy]\nstrict = true\nplugins = pydantic.mypy\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MYPYPATH", raising=False)

    output, errors, _ = api.run(["--python-executable", sys.executable, "--cache-dir", os.devnull, "contracts.py"])

    found = {int(line.split(":")[1]) for line in output.splitlines() if ": error:" in line}
    wrong = {number for number, line in enumerate(SNIPPET.splitlines(), start=1) if line.endswith("# wrong")}
    assert (found, errors) == (wrong, ""), output
