"""Where fields come from, and contracts whose fields cannot travel."""

from collections.abc import Sequence
from typing import Annotated, Any, List, Optional  # noqa: UP035 - old spellings are what is tested

import pytest
from pydantic import AliasChoices, BaseModel, ConfigDict, Field, RootModel, SecretStr, create_model

from busgate.contracts import Call, Catalog, ContractError, Nothing, http
from busgate.contracts.fields import check_fields, holds_many, request_fields
from busgate.contracts.http import Route


class Part(BaseModel):
    x: int = 0


def contract(request: type[BaseModel], route: Route, reply: type[BaseModel] = Nothing) -> Call[Any, Any]:
    return Call("a.b.v1", route, request=request, reply=reply)


class Mixed(BaseModel):
    id: int
    tenant: Annotated[str | None, http.Header("X-Tenant")] = None
    order_name: str = Field("", alias="orderName")


@pytest.mark.parametrize(("route", "rest"), [(http.get("/{id}"), "query"), (http.put("/{id}"), "body")])
def test_fields_come_from_path_header_and_the_rest(route: Route, rest: str):
    fields = request_fields(contract(Mixed, route))

    assert list(fields.path) == ["id"]
    assert {key: marker.name for key, (marker, _) in fields.header.items()} == {"tenant": "X-Tenant"}
    assert list(getattr(fields, rest)) == ["orderName"]
    assert not (fields.body if rest == "query" else fields.query)


@pytest.mark.parametrize(
    ("annotation", "many"),
    [
        (list, True),
        (list[int], True),
        (List[int], True),  # noqa: UP006
        (set[str] | None, True),
        (Optional[tuple[int, ...]], True),  # noqa: UP045
        (frozenset[int], True),
        (Sequence[int], True),
        (int, False),
        (str | None, False),
        (dict[str, list[int]], False),
        (Any, False),
        (None, False),
    ],
)
def test_fields_that_hold_many_values_are_known(annotation: Any, many: bool):
    assert holds_many(annotation) is many


def model(**fields: Any) -> type[BaseModel]:
    return create_model("Made", **fields)


class Late(BaseModel):
    model_config = ConfigDict(defer_build=True)
    other: "NotDefinedAnywhere"  # type: ignore[name-defined]  # noqa: F821


WRONG: dict[str, tuple[Call[Any, Any], str]] = {
    "path variable without field": (contract(Nothing, http.get("/{id}")), r"\{id\} is not a field"),
    "path variable that is optional": (contract(model(id=(int, 1)), http.get("/{id}")), r"\{id\} must be a required"),
    "path variable of a list": (contract(model(id=(list[int], ...)), http.get("/{id}")), "one value"),
    "path variable of an object": (contract(model(id=(Part, ...)), http.get("/{id}")), "'id'.*path.*object"),
    "query of an object": (contract(model(part=(Part, ...)), http.get("/")), "'part'.*query.*object"),
    "query of objects": (contract(model(part=(list[Part] | None, None)), http.get("/")), "'part'.*object"),
    "query of a dict": (contract(model(part=(dict[str, int] | None, None)), http.get("/")), "'part'.*object"),
    "header of an object": (
        contract(model(part=(Annotated[Part, http.Header("X")], ...)), http.post("/")),
        "'part'.*header.*object",
    ),
    "secret": (contract(model(key=(SecretStr, ...)), http.post("/")), "Made.key is a SecretStr"),
    "secret inside": (
        contract(model(parts=(list[model(key=(SecretStr | None, None))], ...)), http.post("/")),  # type: ignore[misc]
        "Made.key is a SecretStr",
    ),
    "secret in the reply": (
        contract(Nothing, http.post("/"), model(key=(dict[str, SecretStr], ...))),
        "reply field Made.key",
    ),
    "excluded field": (contract(model(x=(int, Field(exclude=True))), http.post("/")), "excluded"),
    "two names": (contract(model(x=(int, Field(validation_alias="y"))), http.post("/")), "different names"),
    "other two names": (contract(model(x=(int, Field(serialization_alias="y"))), http.post("/")), "different names"),
    "choice of names": (
        contract(model(x=(int, Field(validation_alias=AliasChoices("x", "y")))), http.post("/")),
        "different names",
    ),
    "request without names": (contract(RootModel[list[int]], http.post("/")), "RootModel"),
    "request that is no model": (contract(int, http.post("/")), "pydantic model"),  # type: ignore[arg-type]
    "reply that is no model": (contract(Nothing, http.post("/"), list[int]), "pydantic model"),  # type: ignore[arg-type]
    "type that is nowhere": (contract(Late, http.post("/")), "Late is not complete"),
    "location without field": (contract(Nothing, http.post("/", location="/x/{id}")), r"location names \{id\}"),
    "204 with a body": (contract(Nothing, http.delete("/", status=204), Part), "204 has no body"),
}


@pytest.mark.parametrize(("call", "why"), WRONG.values(), ids=WRONG)
def test_a_contract_that_cannot_work_is_refused_by_name(call: Call[Any, Any], why: str):
    with pytest.raises(ContractError, match=rf"contract a\.b\.v1: .*{why}"):
        Catalog([call])


def test_contracts_that_work_are_taken():
    class Tree(BaseModel):
        model_config = ConfigDict(defer_build=True)
        children: "list[Tree]" = []
        kinds: dict[str, list[Part]] = {}

    check_fields(contract(Tree, http.post("/"), RootModel[list[Part]]))
    check_fields(contract(Mixed, http.get("/{id}"), Mixed))
    check_fields(contract(Nothing, http.delete("/", status=204)))
