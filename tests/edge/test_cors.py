"""CORS: what a browser may learn and send, by path; errors too, and nothing for an origin that is not listed."""

from typing import Annotated, Any

import pytest
from pydantic import BaseModel, ValidationError
from support.site import Answer, serving

from busgate.contracts import Call, Catalog, http
from busgate.edge.cors import CorsSettings
from busgate.edge.settings import EdgeSettings, faults_with
from busgate.workers import Context, Service

SHOP, OTHER = "https://shop.example", "https://evil.example"


class Read(BaseModel):
    id: int
    tenant: Annotated[str, http.Header("X-Tenant")] = ""


class Order(BaseModel):
    id: int


read = Call("shop.orders.read.v1", http.get("/orders/{id}"), request=Read, reply=Order, public=True)
drop = Call("shop.orders.drop.v1", http.delete("/orders/{id}"), request=Order, reply=Order)
stock = Call("shop.stock.read.v1", http.get("/stock/{id}"), request=Order, reply=Order, public=True)
change = Call("shop.orders.change.v1", http.post("/orders/{id}"), request=Order, reply=Order, public=True)
shop = Service("shop")


@shop.handles(read)
async def answer(request: Read, context: Context) -> Order:
    return Order(id=request.id)


CONTRACTS: list[Call[Any, Any]] = [read, drop, stock]
TABLES = [
    {"paths": ["/orders/*"], "origins": [SHOP], "credentials": True, "max_age": 60},
    {"topics": ["shop.stock.*"], "origins": ["*"], "headers": ["X-Own"], "exposed": []},
]
PREFIX = "Access-Control-"


def cors_of(answer: Answer) -> dict[str, str]:
    """Headers of CORS, their prefix left out, and Vary."""
    found = {name.removeprefix(PREFIX): value for name, value in answer.headers.items() if name.startswith(PREFIX)}
    return found | ({"Vary": answer.headers["Vary"]} if "Vary" in answer.headers else {})


GRANTED = {
    "Allow-Origin": SHOP,
    "Allow-Credentials": "true",
    "Expose-Headers": "Location, Retry-After, X-Request-Id",
    "Vary": "Origin",
}
REFUSED = {"Vary": "Origin"}
OPEN = {"Allow-Origin": "*"}

ANSWERS: list[Any] = [
    pytest.param("GET", "/orders/1", SHOP, 200, GRANTED, id="a listed origin"),
    pytest.param("GET", "/orders/1", OTHER, 200, REFUSED, id="another origin"),
    pytest.param("GET", "/orders/1", None, 200, REFUSED, id="no origin: caches must know all the same"),
    pytest.param("GET", "/orders/1", "null", 200, REFUSED, id="a sandboxed page"),
    pytest.param("GET", "/orders/1", SHOP.upper(), 200, REFUSED, id="an origin is compared exactly"),
    pytest.param("GET", "/orders/1", SHOP + ".evil.example", 200, REFUSED, id="the beginning of an origin"),
    pytest.param("GET", "/orders/1", "http://shop.example", 200, REFUSED, id="another scheme"),
    pytest.param("GET", "/orders/x", SHOP, 422, GRANTED, id="an error of the contract"),
    pytest.param("DELETE", "/orders/1", SHOP, 401, GRANTED, id="no token"),
    pytest.param("PUT", "/orders/1", SHOP, 405, GRANTED, id="no such method"),
    pytest.param("GET", "/orders/1/lines", SHOP, 404, GRANTED, id="no such path below the table's"),
    pytest.param("GET", "/orders/1?a=%zz", SHOP, 400, GRANTED, id="refused at the front door"),
    pytest.param("GET", "/stock/1", OTHER, 503, OPEN, id="a failure, every origin"),
    pytest.param("GET", "/stock/1", None, 503, OPEN, id="every origin, and none named"),
    pytest.param("GET", "/stock/1/2", OTHER, 404, {}, id="a table of topics has no other paths"),
    pytest.param("GET", "/elsewhere", SHOP, 404, {}, id="no table"),
    pytest.param("OPTIONS", "/orders/1", SHOP, 405, GRANTED, id="OPTIONS that asks nothing"),
]


@pytest.mark.parametrize(("method", "path", "origin", "status", "headers"), ANSWERS)
async def test_answers_tell_browsers_who_may_read_them(method, path, origin, status, headers):
    async with serving(CONTRACTS, [shop], cors=TABLES) as site:
        answer = await site.raw(method, path, [] if origin is None else [("Origin", origin)])

    assert answer.status == status
    assert cors_of(answer) == headers


ALLOWED = {
    "Allow-Origin": SHOP,
    "Allow-Credentials": "true",
    "Allow-Methods": "DELETE, GET",
    "Allow-Headers": "Authorization, Content-Type, Prefer, X-Tenant",
    "Expose-Headers": "Location, Retry-After, X-Request-Id",
    "Max-Age": "60",
    "Vary": "Origin",
}
QUESTIONS: list[Any] = [
    pytest.param("/orders/1", SHOP, "DELETE", 204, ALLOWED, id="a listed origin, without a token"),
    pytest.param("/orders/1", SHOP, "PATCH", 204, ALLOWED, id="a method that is not served: the browser sees it"),
    pytest.param("/orders/1", OTHER, "DELETE", 403, REFUSED, id="another origin"),
    pytest.param(
        *("/stock/1", OTHER, "GET", 204),
        {"Allow-Origin": "*", "Allow-Methods": "GET", "Allow-Headers": "X-Own", "Max-Age": "600"},
        id="every origin",
    ),
    pytest.param("/elsewhere", SHOP, "GET", 404, {}, id="no such path"),
    pytest.param("/openapi.json", SHOP, "GET", 405, {}, id="documentation is no contract"),
]


@pytest.mark.parametrize(("path", "origin", "method", "status", "headers"), QUESTIONS)
async def test_what_a_browser_asks_is_answered_by_the_edge(path, origin, method, status, headers):
    async with serving(CONTRACTS, [shop], cors=TABLES) as site:
        asked = [("Origin", origin), (PREFIX + "Request-Method", method), (PREFIX + "Request-Headers", "x-tenant")]
        answer = await site.raw("OPTIONS", path, asked)

    assert answer.status == status
    assert cors_of(answer) == headers
    assert (answer.body == b"") == (status == 204)


async def test_without_tables_nothing_is_said(tmp_path):
    async with serving(CONTRACTS, [shop]) as site:
        answer = await site.raw("GET", "/orders/1", [("Origin", SHOP)])
        asked = await site.raw("OPTIONS", "/orders/1", [("Origin", SHOP), (PREFIX + "Request-Method", "GET")])

    assert (answer.status, cors_of(answer)) == (200, {})
    assert (asked.status, cors_of(asked)) == (405, {})


async def test_a_method_without_a_table_is_not_granted_by_that_of_another_at_its_path():
    """Browsers send a POST that was allowed its headers, whatever methods the answer lists (Fetch Standard, 4.8)."""
    tables = [{"topics": ["shop.orders.read.v1"], "origins": ["*"]}]
    async with serving([*CONTRACTS, change], [shop], cors=tables) as site:
        asked = await site.raw("OPTIONS", "/orders/1", [("Origin", OTHER), (PREFIX + "Request-Method", "POST")])

    assert asked.status == 405
    assert "Allow-Headers" not in cors_of(asked)


async def test_two_origins_are_none():
    async with serving(CONTRACTS, [shop], cors=TABLES) as site:
        answer = await site.raw("GET", "/orders/1", [("Origin", SHOP), ("Origin", OTHER)])

    assert (answer.status, cors_of(answer)) == (400, REFUSED)


async def test_the_first_table_that_covers_a_contract_holds():
    tables = [{"topics": ["shop.orders.read.v1"], "origins": [OTHER]}, {"origins": [SHOP]}]
    async with serving(CONTRACTS, [shop], cors=tables) as site:
        first = cors_of(await site.raw("GET", "/orders/1", [("Origin", OTHER)]))
        second = cors_of(await site.raw("DELETE", "/orders/1", [("Origin", SHOP)]))
        asked = cors_of(
            await site.raw("OPTIONS", "/orders/1", [("Origin", SHOP), (PREFIX + "Request-Method", "DELETE")])
        )

    assert (first["Allow-Origin"], second["Allow-Origin"]) == (OTHER, SHOP)
    assert asked["Allow-Methods"] == "DELETE"


@pytest.mark.parametrize(
    ("table", "why"),
    [
        ({}, "required"),
        ({"origins": []}, "empty"),
        ({"origins": ["*"], "credentials": True}, "named origins"),
        ({"origins": ["*", SHOP]}, "stands alone"),
        ({"origins": [SHOP + "/"]}, "not an origin"),
        ({"origins": ["https://Shop.example"]}, "not an origin"),
        ({"origins": ["https://shop.example:443"]}, "not an origin"),
        ({"origins": ["https://*.shop.example"]}, "not an origin"),
        ({"origins": ["shop.example"]}, "not an origin"),
        ({"origins": ["null"]}, "not an origin"),
        ({"origins": [SHOP + "\r\nX: y"]}, "not an origin"),
        ({"origins": [SHOP], "headers": ["*"]}, "name of a header"),
        ({"origins": [SHOP], "exposed": ["a b"]}, "name of a header"),
        ({"origins": [SHOP], "max_age": -1}, "0"),
    ],
)
def test_tables_that_cannot_be_meant_are_refused(table, why):
    with pytest.raises(ValidationError, match=why):
        CorsSettings.model_validate(table)


def test_a_pattern_that_no_contract_is_like_is_refused_by_name():
    settings = EdgeSettings.model_validate(
        {"cors": [{"paths": ["/orders/*", "/order/*"], "topics": ["shop.x.*"], "origins": [SHOP]}]}
    )

    faults = faults_with(settings, Catalog([read]))

    assert faults == [
        "edge.cors.0: about 'shop.x.*', which no contract is like",
        "edge.cors.0: about '/order/*', which no contract is like",
    ]
