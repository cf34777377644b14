"""Contracts answered by their examples: as strict as ever, marked, and without any service."""

import json
from typing import Any

import pytest
from pydantic import BaseModel, Field
from support.site import Answer, serving

from busgate.contracts import Call, Caller, Catalog, Example, Nothing, Problem, http
from busgate.edge.settings import EdgeSettings, faults_with


class Place(BaseModel):
    sku: str
    quantity: int = 1


class Order(BaseModel):
    id: int
    sku: str


class OutOfStock(Problem):
    status = 409
    sku: str


place = Call(
    "shop.orders.place.v1",
    http.post("/orders", status=201, location="/orders/{id}"),
    request=Place,
    reply=Order,
    errors=[OutOfStock],
    scopes={"orders"},
    examples=[
        Example("None left", Place(sku="B-2"), OutOfStock("none", sku="B-2")),
        Example("Two of them", Place(sku="A-1", quantity=2), Order(id=7, sku="A-1")),
    ],
)
made_up = Call("shop.made-up.v1", http.get("/made-up"), request=Nothing, reply=Order, errors=[OutOfStock], public=True)
gone = Call("shop.gone.v1", http.delete("/gone", status=204), request=Nothing, reply=Nothing, public=True)
real = Call("real.v1", http.get("/real"), request=Nothing, reply=Order, public=True)
CONTRACTS: list[Call[Any, Any]] = [place, made_up, gone, real]
ANN = Caller("ann", scopes=frozenset({"orders"}))


async def asked(body: bytes, *, prefer: str = "", caller: Caller = ANN) -> tuple[Answer, list[Any]]:
    async with serving(CONTRACTS, mock=["shop.*"]) as site:
        headers = {"Prefer": prefer} if prefer else {}
        answer = await site.as_caller(caller, "POST", "/orders", body=body, headers=headers)
    return answer, site.records


ANSWERS: list[Any] = [
    pytest.param(b'{"sku":"Z-9"}', "", 201, "the first reply, for a request that is no example", id="no example"),
    pytest.param(b'{"sku":"A-1","quantity":2}', "", 201, "its answer", id="a request that is an example"),
    pytest.param(b'{"sku":"B-2"}', "", 409, "its answer", id="a request that is an example of a problem"),
    pytest.param(b'{"sku":"B-2"}', "example=two-of-them", 201, "the one that is named", id="named"),
    pytest.param(b'{"sku":"Z-9"}', 'wait=2, example="None-Left"', 409, "the one that is named", id="named otherwise"),
]


@pytest.mark.parametrize(("body", "prefer", "status", "why"), ANSWERS)
async def test_an_example_answers(body, prefer, status, why):
    answer, records = await asked(body, prefer=prefer)

    assert answer.status == status, why
    assert answer.headers["Busgate-Mock"] == "true"
    document = json.loads(answer.body)
    if status == 201:
        assert (document, answer.headers["Location"]) == ({"id": 7, "sku": "A-1"}, "/orders/7")
    else:
        assert (document["type"], document["sku"]) == ("urn:problem:out-of-stock", "B-2")
    assert [(record[5], record[6]) for record in records] == [("mock", status)]


REFUSED: list[Any] = [
    pytest.param(b'{"sku":1}', "", ANN, 422, id="not of the contract"),
    pytest.param(b"{}", "", Caller("bob"), 403, id="not allowed"),
    pytest.param(b'{"sku":"A-1"}', "example=other", ANN, 400, id="no such example"),
]


@pytest.mark.parametrize(("body", "prefer", "caller", "status"), REFUSED)
async def test_what_a_service_would_not_get_gets_no_example(body, prefer, caller, status):
    answer, _ = await asked(body, prefer=prefer, caller=caller)

    assert (answer.status, answer.headers["Busgate-Mock"]) == (status, "true")
    if status == 400:
        assert json.loads(answer.body)["detail"] == "Prefer names no example; there are: none-left, two-of-them"


async def test_an_answer_is_made_up_where_nobody_gave_one():
    async with serving(CONTRACTS, mock=["shop.*"]) as site:
        order = await site.ask("GET", "/made-up")
        problem = await site.ask("GET", "/made-up", headers={"Prefer": "example=made-up-outofstock"})
        nothing = await site.ask("DELETE", "/gone")

    assert (order.status, json.loads(order.body)) == (200, {"id": 1, "sku": "string"})
    assert (problem.status, nothing.status, nothing.body) == (409, 204, b"")


async def test_other_contracts_are_answered_by_services_alone():
    async with serving(CONTRACTS, mock=["shop.*"]) as site:
        answer = await site.ask("GET", "/real")

    assert answer.status == 503
    assert "Busgate-Mock" not in answer.headers


def test_what_cannot_be_mocked_is_refused_by_name():
    class Odd(BaseModel):
        code: str = Field(pattern=r"^[a-z]{3}-[0-9]{7}$")

    odd = Call("odd.v1", http.get("/odd"), request=Nothing, reply=Odd, public=True)
    settings = EdgeSettings.model_validate({"mock": ["shop.*", "odd.v1"]})

    assert faults_with(settings, Catalog([odd])) == [
        "edge.mock: about 'shop.*', which no contract is like",
        "edge.mock: contract odd.v1: no example of a reply, and none can be made up: add examples=[...] to it",
    ]
