"""The OpenAPI document is valid by an independent validator, and says what the edge does."""

import json
import math
from collections.abc import Iterator
from datetime import date, datetime
from decimal import Decimal
from enum import StrEnum
from typing import Annotated, Any, Literal
from uuid import UUID

import jsonschema  # type: ignore[import-untyped]
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from openapi_spec_validator import OpenAPIV31SpecValidator, validate
from pydantic import BaseModel, ConfigDict, Field, RootModel, computed_field, create_model

from busgate.contracts import Call, Catalog, ContractError, Nothing, Problem, http
from busgate.contracts.openapi import document


class Colour(StrEnum):
    RED = "red"
    BLUE = "blue"


class Line(BaseModel):
    """One line of an order."""

    sku: str = Field(examples=["A-1"])
    count: int = Field(1, gt=0, description="How many.")
    colour: Colour | None = None


class PlaceOrder(BaseModel):
    model_config = ConfigDict(
        json_schema_extra={"examples": [{"tenant": "t", "lines": [{"sku": "A-1"}], "dueDate": "2025-01-01"}]}
    )

    tenant: Annotated[str, http.Header("X-Tenant")] = Field("main", description="Whose order it is.")
    lines: list[Line]
    due: date | None = Field(None, alias="dueDate")
    extra: "dict[str, Line] | RootModel[dict[str, int]]" = {}


class Order(BaseModel):
    model_config = ConfigDict(extra="forbid")

    id: UUID
    lines: list[Line]
    parent: "Order | None" = None
    price: Decimal = Decimal(0)

    @computed_field  # type: ignore[prop-decorator]
    @property
    def count(self) -> int:
        return len(self.lines)


class Find(BaseModel):
    id: UUID
    limit: int = Field(10, le=100, deprecated=True)
    tag: list[str] = []
    kind: Literal["a", "b"] | None = None


class OutOfStock(Problem):
    """There is not enough in stock."""

    status = 409
    sku: str
    colours: tuple[Colour, ...] = ()


class Closed(Problem):
    status = 409


class Quota(Problem):
    status = 429


class Busy(Problem):
    status = 503


CATALOG = Catalog(
    [
        Call(
            "shop.orders.place.v1",
            http.post("/orders", status=201, location="/orders/{id}"),
            request=PlaceOrder,
            reply=Order,
            errors=[OutOfStock, Closed, Quota, Busy],
            scopes={"orders:write", "orders:read"},
            summary="Place an order",
            description="With *all* its lines.",
        ),
        Call("shop.orders.read.v1", http.get("/orders/{id}"), request=Find, reply=Order, public=True),
        Call(
            "shop.orders.drop.v1",
            http.delete("/orders/{key}", status=204),
            request=create_model("Drop", key=(UUID, ...)),
            reply=Nothing,
        ),
        Call("shop.orders.all.v1", http.get("/orders"), request=Nothing, reply=RootModel[list[Order]]),
        Call("echo.v1", http.put("/echo"), request=Line, reply=Line),
        Call("kick.v1", http.post("/kick/{id}"), request=create_model("Kick", id=(int, ...)), reply=Nothing),
    ]
)


@pytest.fixture(scope="module")
def described() -> dict[str, Any]:
    return document(CATALOG, title="Shop", version="1.2.3")


def operation(described: dict[str, Any], topic: str) -> dict[str, Any]:
    found = [one for path in described["paths"].values() for one in path.values() if one["operationId"] == topic]
    assert len(found) == 1
    return dict(found[0])


def matches(described: dict[str, Any], schema: dict[str, Any], value: Any) -> bool:
    whole = schema | {"components": described["components"]}
    return bool(jsonschema.Draft202012Validator(whole).is_valid(value))


def check(described: dict[str, Any]) -> None:
    validate(described, cls=OpenAPIV31SpecValidator)
    assert json.loads(json.dumps(described, allow_nan=False)) == described
    for place in examples_in(described["paths"]):
        for one in place["examples"].values():
            assert matches(described, place["schema"], one["value"]), one


def examples_in(value: Any) -> Iterator[dict[str, Any]]:
    """The parameters and bodies that have examples."""
    if isinstance(value, list):
        for inner in value:
            yield from examples_in(inner)
    elif isinstance(value, dict) and isinstance(value.get("examples"), dict) and "schema" in value:
        yield value
    elif isinstance(value, dict):
        yield from examples_in(list(value.values()))


def test_a_rich_catalog_is_valid(described: dict[str, Any]):
    check(described)
    assert described["info"] == {"title": "Shop", "version": "1.2.3"}


def test_an_empty_catalog_is_valid():
    check(document(Catalog([]), title="", version="0"))


def test_the_same_catalog_gives_the_same_document(described: dict[str, Any]):
    assert json.dumps(document(CATALOG, title="Shop", version="1.2.3")) == json.dumps(described)


def test_each_contract_is_an_operation(described: dict[str, Any]):
    place = operation(described, "shop.orders.place.v1")

    assert described["paths"]["/orders"]["post"] == place
    assert place["tags"] == ["shop.orders"]
    assert place["x-busgate-topic"] == "shop.orders.place.v1"
    assert (place["summary"], place["description"]) == ("Place an order", "With *all* its lines.")
    assert operation(described, "echo.v1")["tags"] == ["echo"]


def test_parameters_come_from_path_query_and_header(described: dict[str, Any]):
    found = {one.get("name"): one for one in operation(described, "shop.orders.read.v1")["parameters"]}

    assert (found["id"]["in"], found["id"]["required"]) == ("path", True)
    assert (found["limit"]["in"], found["limit"]["required"], found["limit"]["deprecated"]) == ("query", False, True)
    assert found["tag"]["schema"]["type"] == "array"
    tenant = operation(described, "shop.orders.place.v1")["parameters"][0]
    assert (tenant["name"], tenant["in"], tenant["description"]) == ("X-Tenant", "header", "Whose order it is.")
    assert {"$ref": "#/components/parameters/Prefer"} in operation(described, "echo.v1")["parameters"]


def test_one_path_with_two_names_for_a_variable_is_one_path(described: dict[str, Any]):
    assert set(described["paths"]["/orders/{id}"]) == {"get", "delete"}
    assert described["paths"]["/orders/{id}"]["delete"]["parameters"][0]["name"] == "id"


def test_a_body_has_its_fields_and_no_other(described: dict[str, Any]):
    body = operation(described, "shop.orders.place.v1")["requestBody"]
    schema = body["content"]["application/json"]["schema"]

    assert body["required"]
    assert matches(described, schema, {"lines": [{"sku": "a"}], "dueDate": None})
    assert not matches(described, schema, {"lines": [{"sku": "a", "other": 1}]})
    assert not matches(described, schema, {"lines": [], "tenant": "x"})
    assert matches(described, schema, {"lines": [], "extra": {"any": 1}})
    assert schema["examples"] == [{"lines": [{"sku": "A-1"}], "dueDate": "2025-01-01"}]


def test_a_contract_without_body_fields_has_no_body(described: dict[str, Any]):
    assert "requestBody" not in operation(described, "kick.v1")
    assert "requestBody" not in operation(described, "shop.orders.read.v1")


def test_examples_are_kept(described: dict[str, Any]):
    assert json.dumps(described).count('"A-1"') >= 2


def test_a_reply_is_complete_and_may_grow(described: dict[str, Any]):
    response = operation(described, "shop.orders.place.v1")["responses"]["201"]
    schema = response["content"]["application/json"]["schema"]
    order = json.loads(Order(id=UUID(int=1), lines=[Line(sku="a")]).model_dump_json())

    assert matches(described, schema, order)
    assert matches(described, schema, order | {"new": 1})
    assert not matches(described, schema, {key: value for key, value in order.items() if key != "parent"})
    assert "Location" in response["headers"]


def test_a_204_has_no_content(described: dict[str, Any]):
    assert "content" not in operation(described, "shop.orders.drop.v1")["responses"]["204"]


def test_declared_problems_are_described_by_status(described: dict[str, Any]):
    responses = operation(described, "shop.orders.place.v1")["responses"]
    conflict = responses["409"]["content"]["application/problem+json"]["schema"]

    assert len(conflict["oneOf"]) == 2
    assert matches(described, conflict, OutOfStock(sku="a").document())
    assert matches(described, conflict, Closed("x").document())
    assert not matches(described, conflict, Quota().document())
    assert matches(described, responses["429"]["content"]["application/problem+json"]["schema"], Quota().document())
    busy = responses["503"]["content"]["application/problem+json"]["schema"]
    assert matches(described, busy, Busy().document())
    assert matches(described, busy, {"type": "x", "title": "x", "status": 503, "outcome": "not_executed"})
    assert "Retry-After" in responses["503"]["headers"]


@pytest.mark.parametrize(
    ("topic", "absent"),
    [
        ("shop.orders.place.v1", set()),
        ("shop.orders.read.v1", {"401", "403", "413", "415"}),
        ("shop.orders.drop.v1", {"403", "413", "415"}),
        ("echo.v1", {"403"}),
    ],
)
def test_common_answers_are_those_that_can_happen(described: dict[str, Any], topic: str, absent: set[str]):
    responses = operation(described, topic)["responses"]
    common = {"400", "401", "403", "406", "413", "415", "422", "500", "502", "503", "504", "default"}

    assert common - responses.keys() == absent


def test_security_names_the_scopes(described: dict[str, Any]):
    assert operation(described, "shop.orders.place.v1")["security"] == [{"bearer": ["orders:read", "orders:write"]}]
    assert operation(described, "shop.orders.read.v1")["security"] == []
    assert operation(described, "echo.v1")["security"] == [{"bearer": []}]
    assert described["components"]["securitySchemes"]["bearer"]["bearerFormat"] == "JWT"


def references(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        yield from (inner for key, inner in value.items() if key == "$ref")
        for inner in value.values():
            yield from references(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from references(inner)


def test_every_schema_is_used_and_every_reference_leads_somewhere(described: dict[str, Any]):
    used = {one.removeprefix("#/components/schemas/") for one in references(described) if "/schemas/" in one}

    assert used == described["components"]["schemas"].keys()


def test_a_model_on_both_sides_has_two_schemas_and_no_two_have_one_title(described: dict[str, Any]):
    schemas = described["components"]["schemas"]
    titles = [schema["title"] for schema in schemas.values() if "title" in schema]

    assert {"Line-Input", "Line-Output"} <= schemas.keys()
    assert len(set(titles)) == len(titles)


def test_models_of_one_name_do_not_collide():
    a = create_model("Same", __module__="one", a=(int, ...))
    b = create_model("Same", __module__="two", b=(int, ...))
    catalog = Catalog(
        [
            Call("a.v1", http.post("/a"), request=a, reply=b),
            Call("b.v1", http.post("/b"), request=b, reply=a, errors=[type("Same", (Problem,), {"status": 400})]),
        ]
    )

    described = document(catalog, title="", version="0")

    check(described)
    schema = operation(described, "a.v1")["requestBody"]["content"]["application/json"]["schema"]
    assert matches(described, schema, {"a": 1})
    assert not matches(described, schema, {"b": 1})


def test_a_type_without_a_schema_is_refused():
    class Strange:
        pass

    strange = create_model("Holder", __config__=ConfigDict(arbitrary_types_allowed=True), x=(Strange, ...))

    with pytest.raises(ContractError, match="JSON schema"):
        document(Catalog([Call("a.v1", http.post("/"), request=strange, reply=Nothing)]), title="", version="0")


def test_whatever_authors_add_to_a_schema_is_json_or_refused():
    def described_with(extra: Any) -> dict[str, Any]:
        model = create_model("M", when=(date, Field(json_schema_extra={"examples": [extra]})), limit=(float, math.inf))
        return document(Catalog([Call("a.v1", http.post("/", status=299), request=model, reply=Line)]))

    described = described_with(date(2025, 1, 31))

    check(described)
    members = described["components"]["schemas"]["M"]["properties"]
    assert members["when"]["examples"] == ["2025-01-31"]
    assert "default" not in members["limit"]
    with pytest.raises(ContractError, match="no JSON schema"):
        described_with(object())


names = st.from_regex(r"[a-z][a-z0-9_]{0,8}", fullmatch=True).filter(lambda name: not name.startswith("model_"))
plain_types = st.sampled_from(
    [int, str, bool, float, bytes, date, datetime, UUID, Decimal, Colour, Literal["x"], int | None]
)
types = plain_types | plain_types.map(lambda one: list[one])  # type: ignore[valid-type]
body_types = types | st.sampled_from([Line, list[Line], dict[str, Line], Order])


@st.composite
def field(draw: st.DrawFn, hints: st.SearchStrategy[Any]) -> tuple[Any, Any]:
    hint = draw(hints)
    return (hint, ...) if draw(st.booleans()) else (hint | None, None)


def made(name: str, fields: dict[str, tuple[Any, Any]]) -> type[BaseModel]:
    return create_model(name, **fields)  # type: ignore[call-overload, no-any-return]


@st.composite
def contracts(draw: st.DrawFn) -> Call[Any, Any]:
    make = draw(st.sampled_from([http.get, http.delete, http.post, http.put, http.patch]))
    with_body = make not in (http.get, http.delete)
    path = draw(st.lists(st.tuples(names, st.booleans()), max_size=3, unique_by=lambda pair: pair[0]))
    rest = body_types if with_body else types
    fields = draw(st.dictionaries(names, field(rest), max_size=4))
    fields |= {name: (draw(plain_types), ...) for name, variable in path if variable}
    template = "/" + "/".join(f"{{{name}}}" if variable else name for name, variable in path)
    reply = draw(st.dictionaries(names, field(body_types), max_size=4))
    return Call(
        draw(names) + ".v1",
        make(template),
        request=made("Asked", fields),
        reply=made("Told", reply),
        errors=draw(st.lists(st.sampled_from([OutOfStock, Closed, Quota, Busy]), unique=True)),
        public=draw(st.booleans()),
    )


@settings(deadline=None, max_examples=25, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(contracts(), max_size=3, unique_by=(lambda call: call.topic, lambda call: call.http.shape)))
def test_every_catalog_has_a_valid_document(calls: list[Call[Any, Any]]):
    described = document(Catalog(calls), title="x", version="1")

    check(described)
    assert sum(len(path) for path in described["paths"].values()) == len(calls)
