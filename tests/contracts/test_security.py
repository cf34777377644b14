"""What an API document says of authentication."""

import pytest
from openapi_spec_validator import validate

from busgate.contracts import Call, Catalog, Nothing, http
from busgate.contracts.openapi import document
from busgate.contracts.security import Doors


def call(name: str, **more: object) -> Call[Nothing, Nothing]:
    return Call(f"test.{name}.v1", http.get(f"/{name}", status=204), request=Nothing, reply=Nothing, **more)  # type: ignore[arg-type] # tests name any


def described(*calls: Call[Nothing, Nothing], doors: Doors | None = None) -> tuple[list[object], object]:
    """The member `security` of each operation, and all schemes."""
    made = document(Catalog(calls), doors=doors or Doors())
    validate(made)
    operations = [methods["get"]["security"] for methods in made["paths"].values()]
    return operations, made["components"]["securitySchemes"]


def test_a_contract_takes_tokens_where_nobody_says_otherwise() -> None:
    operations, schemes = described(call("a", scopes={"x", "y"}), call("b", public=True))

    assert operations == [[{"bearer": ["x", "y"]}], []]
    assert schemes == {"bearer": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"}}


def test_any_of_the_ways_will_do() -> None:
    both = Doors(lambda _: {"signature", "key", "jwt", "introspection"}, "X-Shop-Key")

    operations, schemes = described(call("a", scopes={"x"}), doors=both)

    assert operations == [[{"bearer": ["x"]}, {"apiKey": ["x"]}, {"signature": ["x"]}]]
    assert list(schemes) == ["bearer", "apiKey", "signature"]  # type: ignore[call-overload] # a dictionary
    assert schemes["apiKey"] == {"type": "apiKey", "in": "header", "name": "X-Shop-Key"}  # type: ignore[index] # the same


def test_each_contract_names_its_own() -> None:
    operations, schemes = described(call("a", schemes={"key"}), call("b", schemes={"certificate"}), call("c"))

    assert operations == [[{"apiKey": []}], [{"certificate": []}], [{"bearer": []}]]
    assert set(schemes) == {"apiKey", "certificate", "bearer"}  # type: ignore[call-overload] # a dictionary


@pytest.mark.parametrize("schemes", [set(), {"pre-call"}])
def test_a_contract_that_needs_a_caller_never_looks_public(schemes: set[str]) -> None:
    operations, _ = described(call("a"), doors=Doors(lambda _: schemes))

    assert operations == [[{"bearer": []}]]
