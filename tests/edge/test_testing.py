"""Services called through a real edge, as an author's test does it."""

from typing import Any

import pytest
from pydantic import BaseModel, ValidationError

from busgate.contracts import Call, Caller, ContractError, Problem, http
from busgate.contracts.failure import NO_WORKERS
from busgate.edge import EdgeSettings
from busgate.edge.testing import HttpHarness
from busgate.workers import Context, Service
from busgate.workers.testing import Harness


class Place(BaseModel):
    sku: str
    quantity: int = 1


class Order(BaseModel):
    id: int
    text: str


class Read(BaseModel):
    id: int
    verbose: bool = False


class Sold(Problem):
    status = 409


place = Call(
    "test.place.v1",
    http.post("/orders", status=201, location="/orders/{id}"),
    request=Place,
    reply=Order,
    errors=[Sold],
    scopes={"orders:write"},
)
read = Call("test.read.v1", http.get("/orders/{id}"), request=Read, reply=Order)
public = Call("test.public.v1", http.put("/public"), request=Place, reply=Order, public=True)

orders = Service("orders")


def who(context: Context) -> str:
    return "nobody" if context.caller is None else context.caller.subject


@orders.handles(place)
async def placed(request: Place, context: Context) -> Order:
    if request.sku == "crash":
        raise KeyError("boom")
    if request.sku == "sold":
        raise Sold("all of it")
    return Order(id=request.quantity, text=who(context))


@orders.handles(read)
async def found(request: Read, context: Context) -> Order:
    caller = context.caller
    assert caller is not None
    return Order(
        id=request.id, text=f"{request.verbose} {caller.subject} {sorted(caller.scopes)} {dict(caller.claims)}"
    )


@orders.handles(public)
async def put(request: Place, context: Context) -> Order:
    return Order(id=0, text=who(context))


@pytest.fixture
def busgate() -> Harness:
    return Harness()


@pytest.fixture
def busgate_http(busgate: Harness) -> HttpHarness:
    return HttpHarness(busgate.stage)


async def test_a_service_answers_over_http(busgate: Harness, busgate_http: HttpHarness) -> None:
    async with busgate.serving(orders), busgate_http.serving(place) as client:
        answer = await client.post("/orders", Place(sku="A-1", quantity=3))

    assert answer.status == 201, answer
    assert answer.headers["location"] == "/orders/3"
    assert answer.read(Order) == Order(id=3, text="tester")


async def test_every_method_and_the_query(busgate: Harness, busgate_http: HttpHarness) -> None:
    async with busgate.serving(orders), busgate_http.serving(place, read, public) as client:
        got = await client.get("/orders/7", query={"verbose": "true"}, caller="alice")
        put = await client.put("/public", {"sku": "A"}, caller=None)
        others = [await client.patch("/orders", {}), await client.delete("/orders"), await client.get("/nowhere")]

    assert got.json() == {"id": 7, "text": "True alice ['orders:write'] {}"}
    assert put.json()["text"] == "nobody"
    assert [each.status for each in others] == [405, 405, 404]


async def test_tokens_are_as_the_test_says(busgate: Harness, busgate_http: HttpHarness) -> None:
    async with busgate.serving(orders), busgate_http.serving(place) as client:
        nobody = await client.post("/orders", {"sku": "A"}, caller=None)
        without_scope = await client.post("/orders", {"sku": "A"}, caller=Caller("alice"))
        forged = await client.post("/orders", {"sku": "A"}, headers={"Authorization": "Bearer a.b.c"})

    assert [each.status for each in (nobody, without_scope, forged)] == [401, 403, 401]


async def test_claims_travel_where_the_settings_let_them(busgate: Harness, busgate_http: HttpHarness) -> None:
    issuer = {"issuer": "live", "audience": ["shop"], "keys": [{"secret": "x" * 32}], "claims": ["tenant"]}
    settings = EdgeSettings.model_validate({"jwt": [issuer]})
    caller = Caller("alice", claims={"tenant": "t1", "email": "a@example.com"})
    async with busgate.serving(orders), busgate_http.serving(read, settings=settings) as client:
        answer = await client.get("/orders/1", caller=caller)

    assert answer.json()["text"] == "False alice [] {'tenant': 't1'}"


async def test_a_body_is_sent_as_it_is(busgate: Harness, busgate_http: HttpHarness) -> None:
    async with busgate.serving(orders), busgate_http.serving(place) as client:
        broken = await client.post("/orders", b"{")
        wrong = await client.post("/orders", {"sku": 1})

    assert [broken.status, wrong.status] == [400, 422]
    with pytest.raises(ValidationError):
        wrong.read(Order)


async def test_a_failed_assertion_shows_what_the_handler_raised(busgate: Harness, busgate_http: HttpHarness) -> None:
    async with busgate.serving(orders), busgate_http.serving(place) as client:
        crashed = await client.post("/orders", {"sku": "crash"})
        declared = await client.post("/orders", {"sku": "sold"})

    assert (crashed.status, repr(crashed.crash)) == (500, "KeyError('boom')")
    assert repr(crashed).startswith("<500: {")
    assert repr(crashed).endswith("; its handler raised KeyError('boom')>")
    assert (declared.status, declared.crash) == (409, None)
    assert "boom" not in crashed.body.decode()


async def test_the_edge_meets_what_the_test_lets_fail(busgate: Harness, busgate_http: HttpHarness) -> None:
    busgate.stand_in(place, NO_WORKERS, Order(id=5, text="played"))
    async with busgate.serving(), busgate_http.serving(place) as client:
        refused = await client.post("/orders", {"sku": "A"})
        answered = await client.post("/orders", {"sku": "A"})

    assert (refused.status, refused.json()["outcome"]) == (503, "not_executed")
    assert answered.status == 201


async def test_contracts_are_named_or_given(
    busgate: Harness, busgate_http: HttpHarness, monkeypatch: Any, tmp_path: Any
) -> None:
    (tmp_path / "some_contracts.py").write_text(
        "from busgate.contracts import Call, Nothing, http\n"
        "ping = Call('test.ping.v1', http.get('/ping', status=204), request=Nothing, reply=Nothing, public=True)\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    async with busgate.serving(orders), busgate_http.serving(public, "some_contracts") as client:
        nobody = await client.get("/ping")

    assert nobody.status == 503
    with pytest.raises(ContractError, match="nothing to serve over HTTP"):
        async with busgate_http.serving():
            raise AssertionError("it must not open")


async def test_a_service_that_verifies_who_calls_believes_the_edge_of_the_test() -> None:
    verifying = Service("verifying", trust="verified")

    @verifying.handles(read)
    async def tell(request: Read, context: Context) -> Order:
        return Order(id=request.id, text=who(context))

    busgate = Harness()
    async with busgate.serving(verifying), HttpHarness(busgate.stage).serving(read) as client:
        answer = await client.get("/orders/1", caller="ann")

    assert answer.read(Order) == Order(id=1, text="ann")
