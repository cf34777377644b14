"""What authors are promised of the harness, on the embedded bus and on RabbitMQ alike."""

import asyncio

import pytest
from pydantic import BaseModel
from support.management import Vhost

from busgate.bus import RabbitBroker
from busgate.bus.settings import BusSettings
from busgate.bus.testing import Stage
from busgate.contracts import Call, Caller, CallFailed, Problem, http
from busgate.contracts.failure import (
    BUS_BLOCKED,
    HANDLER_CRASHED,
    NESTED_TIMEOUT,
    NO_WORKERS,
    OVERLOADED,
    QUEUE_FULL,
    TIMEOUT,
    TOO_LATE,
    WORKER_KINDS,
    FailureKind,
)
from busgate.workers import Context, Service
from busgate.workers.testing import SILENCE, Harness


class Order(BaseModel):
    sku: str


class Receipt(BaseModel):
    text: str
    tries: int = 1


class Check(BaseModel):
    sku: str


class Stock(BaseModel):
    available: int


class Unknown(Problem):
    """Nobody sells it."""

    status = 404
    sku: str


order = Call("test.order.v1", http.post("/orders"), request=Order, reply=Receipt, errors=[Unknown], scopes={"buy"})
check = Call("test.check.v1", http.get("/stock/{sku}"), request=Check, reply=Stock, errors=[Unknown])
ping = Call("test.ping.v1", http.get("/ping/{sku}"), request=Check, reply=Stock, public=True)

shop = Service("shop")
store = Service("store")


@shop.handles(order)
async def place(request: Order, context: Context) -> Receipt:
    """Tries twice to learn what is in stock."""
    tries = 0
    while True:
        tries += 1
        try:
            stock = await context.call(check, Check(sku=request.sku))
        except CallFailed as failure:
            if tries > 1:
                raise
            assert failure.kind.outcome
            continue
        who = context.caller.subject if context.caller else "nobody"
        return Receipt(text=f"{stock.available} for {who}", tries=tries)


runs: list[bool] = []


@store.handles(check)
def count(request: Check, context: Context) -> Stock:
    runs.append(context.redelivered)
    return Stock(available=len(request.sku))


@store.handles(ping)
async def answer(request: Check, context: Context) -> Stock:
    return Stock(available=0 if context.caller is None else 1)


@pytest.fixture(autouse=True)
def _no_runs() -> None:
    runs.clear()


# -- calls


async def test_a_call_goes_through_the_services(busgate: Harness) -> None:
    async with busgate.serving(shop, store):
        receipt = await busgate.call(order, Order(sku="A-1"))

    assert receipt == Receipt(text="3 for tester")


async def test_a_test_says_who_calls(busgate: Harness) -> None:
    async with busgate.serving(shop, store):
        by_name = await busgate.call(order, Order(sku="A"), caller="alice")
        whole = await busgate.call(order, Order(sku="A"), caller=Caller("bob", "https://issuer.example"))
        public = await busgate.call(ping, Check(sku="A"))

    assert (by_name.text, whole.text) == ("1 for alice", "1 for bob")
    assert public.available == 0


async def test_calls_can_be_made_side_by_side(busgate: Harness) -> None:
    async with busgate.serving(shop, store), asyncio.TaskGroup() as group:
        task = group.create_task(busgate.call(order, Order(sku="A")))
        gathered = await asyncio.gather(*(busgate.call(check, Check(sku="A" * n)) for n in range(5)))

    assert [stock.available for stock in gathered] == [0, 1, 2, 3, 4]
    assert task.result().tries == 1


async def test_services_serve_only_inside_their_block(busgate: Harness) -> None:
    async with busgate.serving(shop):
        async with busgate.serving(store):
            await busgate.call(check, Check(sku="A"))
        with pytest.raises(CallFailed) as failed:
            await busgate.call(check, Check(sku="A"), timeout=0.5)

    assert failed.value.kind in (NO_WORKERS, TIMEOUT)


async def test_the_harness_can_serve_again(busgate: Harness) -> None:
    for _ in range(2):
        async with busgate.serving(store):
            stock = await busgate.call(check, Check(sku="A"))

    assert stock.available == 1


# -- other services, played


async def test_a_stand_in_answers_and_writes_down_what_it_was_asked(busgate: Harness) -> None:
    stock = busgate.stand_in(check, Stock(available=7))
    async with busgate.serving(shop):
        receipt = await busgate.call(order, Order(sku="A-1"))

    assert receipt.text == "7 for tester"
    assert stock.requests == [Check(sku="A-1")]


async def test_a_stand_in_raises_a_declared_problem(busgate: Harness) -> None:
    busgate.stand_in(check, Unknown("not sold here", sku="A-1"))
    async with busgate.serving(shop):
        with pytest.raises(Unknown) as raised:
            await busgate.call(order, Order(sku="A-1"))

    assert (raised.value.sku, raised.value.detail) == ("A-1", "not sold here")


@pytest.mark.parametrize(
    "kind", [NO_WORKERS, QUEUE_FULL, BUS_BLOCKED, OVERLOADED, TIMEOUT, HANDLER_CRASHED, TOO_LATE], ids=lambda k: k.name
)
async def test_a_stand_in_fails_as_the_bus_or_a_worker_would(busgate: Harness, kind: FailureKind) -> None:
    stock = busgate.stand_in(check, kind)
    async with busgate.serving():
        with pytest.raises(CallFailed) as failed:
            await busgate.call(check, Check(sku="A"))

    assert failed.value.kind is kind
    assert failed.value.service == ("stand-in" if kind.type in WORKER_KINDS else None)
    assert len(stock.requests) == (1 if kind.type in WORKER_KINDS else 0)


async def test_a_handler_that_tries_again_meets_the_next_answer(busgate: Harness) -> None:
    busgate.stand_in(check, TIMEOUT, Stock(available=2))
    async with busgate.serving(shop):
        first = await busgate.call(order, Order(sku="A"))
        second = await busgate.call(order, Order(sku="A"))

    assert (first.tries, second.tries) == (2, 1)


async def test_a_stand_in_works_its_answer_out(busgate: Harness) -> None:
    def known(request: Check) -> Stock:
        if request.sku == "B":
            raise Unknown("no", sku=request.sku)
        return Stock(available=5)

    busgate.stand_in(check, known)
    async with busgate.serving(shop):
        receipt = await busgate.call(order, Order(sku="A"))
        with pytest.raises(Unknown):
            await busgate.call(order, Order(sku="B"))

    assert receipt.text == "5 for tester"


async def test_what_a_stand_in_does_can_change_between_calls(busgate: Harness) -> None:
    stock = busgate.stand_in(check, Stock(available=1))
    async with busgate.serving(shop):
        await busgate.call(order, Order(sku="A"))
        same = busgate.stand_in(check, Stock(available=2))
        receipt = await busgate.call(order, Order(sku="B"))

    assert receipt.text == "2 for tester"
    assert same is stock
    assert stock.requests == [Check(sku="A"), Check(sku="B")]


async def test_silence_lasts_until_the_deadline(busgate: Harness) -> None:
    stock = busgate.stand_in(check, SILENCE)
    async with busgate.serving():
        with pytest.raises(CallFailed) as failed:
            await busgate.call(check, Check(sku="A"), timeout=0.3)

    assert failed.value.kind is TIMEOUT
    assert failed.value.detail is None  # it was not the test that said so
    assert stock.requests == [Check(sku="A")]


async def test_a_service_whose_neighbour_is_silent_answers_before_its_own_deadline(busgate: Harness) -> None:
    busgate.stand_in(check, SILENCE)
    async with busgate.serving(shop):
        with pytest.raises(CallFailed) as failed:
            await busgate.call(order, Order(sku="A"), timeout=1.0)

    assert failed.value.kind in (NESTED_TIMEOUT, TIMEOUT)  # the latter on a machine that is held up for 30 ms


# -- twice


async def test_a_nested_call_that_arrives_twice_runs_twice_where_its_contract_allows(busgate: Harness) -> None:
    busgate.deliver_twice(check)
    async with busgate.serving(shop, store):
        receipt = await busgate.call(order, Order(sku="A"))
        again = await busgate.call(order, Order(sku="A"))

    assert (receipt.tries, again.tries) == (1, 1)
    assert runs == [False, True, False]


async def test_a_call_that_arrives_twice_is_refused_where_its_contract_says_so(busgate: Harness) -> None:
    busgate.deliver_twice(order)
    async with busgate.serving(shop, store):
        with pytest.raises(CallFailed) as failed:
            await busgate.call(order, Order(sku="A"))

    assert (failed.value.kind.name, failed.value.kind.outcome) == ("redelivered", "unknown")
    assert runs == [False]


async def test_a_stand_in_can_be_asked_twice(busgate: Harness) -> None:
    stock = busgate.stand_in(check, Stock(available=3), Stock(available=4))
    busgate.deliver_twice(check)
    async with busgate.serving(shop):
        receipt = await busgate.call(order, Order(sku="A"))

    assert receipt.text == "3 for tester"
    assert stock.requests == [Check(sku="A")] * 2


# -- the namespace, on RabbitMQ


async def test_each_test_has_queues_of_its_own_and_leaves_none(vhost: Vhost) -> None:
    def harness() -> Harness:
        return Harness(Stage(RabbitBroker(BusSettings(url=vhost.url).addresses())))

    one, other = harness(), harness()
    one.stand_in(check, Stock(available=1))
    other.stand_in(check, Stock(available=2))
    async with one.serving(), other.serving():
        first, second = await asyncio.gather(*(each.call(check, Check(sku="A")) for each in (one, other)))
        during = await vhost.queues()
    after = await vhost.queues()

    assert (first.available, second.available) == (1, 2)
    ours = [name for name in during if not name.startswith("busgate.reply.")]
    assert len(ours) == 2
    assert all(name.startswith("test-") and name.endswith(".test.check.v1") for name in ours)
    assert not any(name in after for name in ours)


async def test_a_user_needs_no_more_rights_than_the_manual_says(vhost: Vhost) -> None:
    rights = r"^(test-.*|busgate\..*)$"
    user = "author-of-tests"
    await vhost.management.create_user(user, "secret")
    try:
        await vhost.management.allow(user, vhost.name, configure=rights, write=rights, read=rights)
        url = f"amqp://{user}:secret@{vhost.url.partition('@')[2]}"
        busgate = Harness(Stage(RabbitBroker(BusSettings(url=url).addresses())))
        busgate.deliver_twice(check)
        async with busgate.serving(shop, store):
            receipt = await busgate.call(order, Order(sku="A-1"))
    finally:
        await vhost.management.delete_user(user)

    assert receipt.text == "3 for tester"
    assert runs == [False, True]
