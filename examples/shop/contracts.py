"""What the shop offers: its contracts, their models and their problems. Both sides of the bus import this."""

from typing import Annotated

from pydantic import BaseModel, Field

from busgate.contracts import Call, Problem, http

Sku = Annotated[str, Field(pattern=r"^[A-Z]-[0-9]{1,6}$", examples=["A-1"])]


class PlaceOrder(BaseModel):
    sku: Sku
    quantity: int = Field(1, ge=1, le=100)


class Order(BaseModel):
    id: int
    sku: str
    quantity: int


class ReadOrder(BaseModel):
    id: int = Field(ge=1)


class CheckStock(BaseModel):
    sku: Sku


class Stock(BaseModel):
    sku: str
    available: int


class OutOfStock(Problem):
    """There is not enough in stock."""

    status = 409
    sku: str
    available: int


class OrderNotFound(Problem):
    """The caller has no such order."""

    status = 404
    id: int


class UnknownSku(Problem):
    """The shop does not sell this."""

    status = 404
    sku: str


place_order = Call(
    "shop.orders.place.v1",
    http.post("/orders", status=201, location="/orders/{id}"),
    request=PlaceOrder,
    reply=Order,
    errors=[OutOfStock, UnknownSku],
    scopes={"orders:write"},
    summary="Place an order",
)

read_order = Call(
    "shop.orders.read.v1",
    http.get("/orders/{id}"),
    request=ReadOrder,
    reply=Order,
    errors=[OrderNotFound],
    summary="Read an order of yours",
)

check_stock = Call(
    "shop.stock.check.v1",
    http.get("/stock/{sku}"),
    request=CheckStock,
    reply=Stock,
    errors=[UnknownSku],
    timeout=1.0,
    summary="See how much is in stock",
)
