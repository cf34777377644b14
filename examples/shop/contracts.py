"""What the shop offers: its contracts, their models and their problems. Both sides of the bus import this."""

from typing import Annotated

from pydantic import BaseModel, Field

from busgate.contracts import Call, Example, Problem, http

Sku = Annotated[str, Field(pattern=r"^[A-Z]-[0-9]{1,6}$", examples=["A-1"])]


class PlaceOrder(BaseModel):
    sku: Sku = Field(description="What to order.")
    quantity: int = Field(1, ge=1, le=100, description="How many.")


class Order(BaseModel):
    id: int = Field(description="The number of the order.")
    sku: str
    quantity: int


class ReadOrder(BaseModel):
    id: int = Field(ge=1)


class CheckStock(BaseModel):
    sku: Sku


class Stock(BaseModel):
    sku: str
    available: int = Field(description="What can be ordered now.")


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
    description="Takes it out of stock at once. Of two who ask for the last one, **one** gets it.",
    examples=[
        Example("Two of what is in stock", PlaceOrder(sku="A-1", quantity=2), Order(id=1, sku="A-1", quantity=2)),
        Example("None left", PlaceOrder(sku="B-2"), OutOfStock("not enough in stock", sku="B-2", available=0)),
        Example("Never sold here", PlaceOrder(sku="Z-9"), UnknownSku("the shop does not sell this", sku="Z-9")),
    ],
)

read_order = Call(
    "shop.orders.read.v1",
    http.get("/orders/{id}"),
    request=ReadOrder,
    reply=Order,
    errors=[OrderNotFound],
    summary="Read an order of yours",
    description="Orders of others are not found.",
    examples=[
        Example("Yours", ReadOrder(id=1), Order(id=1, sku="A-1", quantity=2)),
        Example("Not yours", ReadOrder(id=999), OrderNotFound("you have no such order", id=999)),
    ],
)

check_stock = Call(
    "shop.stock.check.v1",
    http.get("/stock/{sku}"),
    request=CheckStock,
    reply=Stock,
    errors=[UnknownSku],
    delegates={"shop.orders"},  # for services that verify who calls: these may ask on behalf of a customer
    timeout=1.0,
    summary="See how much is in stock",
    examples=[
        Example("In stock", CheckStock(sku="A-1"), Stock(sku="A-1", available=5)),
        Example("Sold out", CheckStock(sku="B-2"), Stock(sku="B-2", available=0)),
    ],
)
