"""Services that verify who calls, in the author's own tests: the harness signs as an edge does."""

import pytest
from pydantic import BaseModel

from busgate.contracts import Call, Caller, CallFailed, http
from busgate.contracts.failure import NESTED_FAILURE
from busgate.workers import Context, Service
from busgate.workers.testing import Harness


class Ask(BaseModel):
    of: str = "stock"


class Said(BaseModel):
    caller: str
    via: str = ""


order = Call("test.orders.place.v1", http.post("/orders"), request=Ask, reply=Said)
stock = Call("test.stock.check.v1", http.get("/stock"), request=Ask, reply=Said, delegates={"test.orders"})
price = Call("test.prices.read.v1", http.get("/price"), request=Ask, reply=Said)
pay = Call("test.payments.pay.v1", http.post("/pay"), request=Ask, reply=Said, bound=True)

orders, inventory = Service("orders"), Service("inventory", trust="verified")


@orders.handles(order)
async def place(request: Ask, context: Context) -> Said:
    return await context.call(stock if request.of == "stock" else price, request)


async def say(_: Ask, context: Context) -> Said:
    return Said(caller=context.caller.subject if context.caller else "", via=context.via)


for contract in (stock, price, pay):
    inventory.handles(contract)(say)


async def test_a_service_that_verifies_is_called_like_any_other(busgate: Harness) -> None:
    async with busgate.serving(inventory):
        assert await busgate.call(stock, Ask()) == Said(caller="tester")
        assert await busgate.call(stock, Ask(), caller=Caller("ann")) == Said(caller="ann")
        assert await busgate.call(pay, Ask(), caller="bob") == Said(caller="bob")


async def test_a_service_that_may_hands_the_caller_on(busgate: Harness) -> None:
    async with busgate.serving(orders, inventory):
        assert await busgate.call(order, Ask(), caller="ann") == Said(caller="ann", via="orders")


async def test_a_nested_call_that_the_contract_does_not_allow_fails_with_its_cure(busgate: Harness) -> None:
    async with busgate.serving(orders, inventory):
        with pytest.raises(CallFailed) as failed:
            await busgate.call(order, Ask(of="price"))

    assert failed.value.kind is NESTED_FAILURE
    assert "test.prices.read.v1 verifies who calls" in failed.value.__notes__[0]
    assert "delegates" in failed.value.__notes__[0]
