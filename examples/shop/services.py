"""The shop's services. Start as many workers of each as you like: `busgate worker shop.services:orders`."""

import asyncio

from busgate.workers import Context, Service

from . import store
from .contracts import (
    CheckStock,
    Order,
    OrderNotFound,
    OutOfStock,
    PlaceOrder,
    ReadOrder,
    Stock,
    UnknownSku,
    check_stock,
    place_order,
    read_order,
)

orders = Service("orders", calls=[check_stock])
inventory = Service("inventory")


@orders.handles(place_order)
async def place(request: PlaceOrder, context: Context) -> Order:
    while True:  # ends: stock runs out, or the deadline of the call ends the nested one
        stock = await context.call(check_stock, CheckStock(sku=request.sku))  # its UnknownSku is ours too
        if stock.available < request.quantity:
            raise OutOfStock("not enough in stock", sku=request.sku, available=stock.available)
        order_id = await asyncio.to_thread(store.place, customer_of(context), request.sku, request.quantity)
        if order_id is not None:  # else someone was faster: look again
            return Order(id=order_id, sku=request.sku, quantity=request.quantity)


@orders.handles(read_order)
def read(request: ReadOrder, context: Context) -> Order:
    row = store.read(customer_of(context), request.id)
    if row is None:
        raise OrderNotFound("you have no such order", id=request.id)
    sku, quantity = row
    return Order(id=request.id, sku=sku, quantity=quantity)


@inventory.handles(check_stock)
def check(request: CheckStock, _context: Context) -> Stock:
    available = store.available(request.sku)
    if available is None:
        raise UnknownSku("the shop does not sell this", sku=request.sku)
    return Stock(sku=request.sku, available=available)


def customer_of(context: Context) -> str:
    """Orders belong to who was authenticated at the edge, not to who a request says."""
    return context.caller.subject if context.caller else ""
