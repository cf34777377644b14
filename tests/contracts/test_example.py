"""An example that could not happen is refused when its contract is made."""

from typing import Annotated, Any

import pytest
from pydantic import BaseModel, Field, RootModel

from busgate.contracts import Call, ContractError, Example, Nothing, Problem, http


class Line(BaseModel):
    sku: str


class Place(BaseModel):
    tenant: Annotated[str, http.Header("X-Tenant")] = "main"
    lines: list[Line]
    note: str = Field("", alias="remark")


class Order(BaseModel):
    id: int
    note: str = Field("", serialization_alias="remark", validation_alias="remark")


class Full(Problem):
    """Nothing fits."""

    status = 409
    left: int


class Undeclared(Problem):
    status = 404


PLACE = Place(lines=[Line(sku="A-1")])


def call(*examples: Any, reply: type[BaseModel] = Order) -> Call[Any, Any]:
    return Call("a.v1", http.post("/a"), request=Place, reply=reply, errors=[Full], examples=examples)


def test_an_example_is_a_request_and_a_reply_or_a_declared_problem() -> None:
    made = call(
        Example("A reply", Place(lines=[], remark="x"), Order(id=1)),
        Example("A problem", PLACE, Full("no room", left=0)),
    )

    assert [example.key for example in made.examples] == ["a-reply", "a-problem"]
    assert [example.answer_json() for example in made.examples] == [
        {"id": 1, "remark": ""},
        {
            "type": "urn:problem:full", "title": "Nothing fits", "status": 409, "outcome": "executed",
            "detail": "no room", "left": 0,
        },
    ]  # fmt: skip


def test_a_request_shows_what_its_author_set_by_the_names_of_json() -> None:
    assert Example("x", PLACE, Order(id=1)).request_json() == {"lines": [{"sku": "A-1"}]}
    assert Example("x", Place(lines=[], remark="y"), Order(id=1)).request_json() == {"lines": [], "remark": "y"}


def test_a_reply_may_be_a_list_or_nothing() -> None:
    orders = RootModel[list[Order]]

    assert call(Example("Two", PLACE, orders([Order(id=1)])), reply=orders).examples[0].answer_json()[0]["id"] == 1
    assert call(Example("Done", PLACE, Nothing()), reply=Nothing).examples[0].answer_json() == {}


def forged(model: type[BaseModel], **values: Any) -> BaseModel:
    return model.model_construct(**values)


@pytest.mark.parametrize(
    ("examples", "why"),
    [
        ([Example("x", Line(sku="A-1"), Order(id=1))], "example 'x': the request is a Place, not a Line"),
        ([Example("x", PLACE, Line(sku="A-1"))], "the answer is a Order or a declared problem, not a Line"),
        ([Example("x", PLACE, Undeclared())], "Undeclared is not among the errors of the contract"),
        ([Example("…", PLACE, Order(id=1))], "its title has no letter or digit"),
        ([Example("A b", PLACE, Order(id=1)), Example("a B!", PLACE, Order(id=2))], "two of its examples have one title"),
        ([Example("x", forged(Place, lines=[7]), Order(id=1))], "the request does not fit Place once it is JSON"),
        ([Example("x", PLACE, forged(Order, id="1"))], "the answer does not fit Order once it is JSON"),
        ([{"title": "x"}], "examples are Example"),
    ],
)  # fmt: skip
@pytest.mark.filterwarnings("ignore:Pydantic serializer warnings")
def test_what_could_not_happen_is_refused(examples: list[Any], why: str) -> None:
    with pytest.raises(ContractError, match=f"contract a.v1: .*{why}"):
        call(*examples)
