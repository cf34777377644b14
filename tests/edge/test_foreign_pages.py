"""Pages of other origins: they change nothing in the name of a visitor whose browser is known by cookie or certificate."""

from typing import Any

import pytest
from pydantic import BaseModel
from support.site import serving

from busgate.contracts import Call, PreCallQuestion, PreCallVerdict, http, pre_call
from busgate.workers import Context, Service


class Which(BaseModel):
    id: str


cancel = Call("test.cancel.v1", http.post("/orders/{id}/cancel"), request=Which, reply=Which)
look = Call("test.look.v1", http.get("/orders/{id}"), request=Which, reply=Which)
decide = pre_call("auth.decide.v1")
shop = Service("shop")


@shop.handles(decide)
async def answer(request: PreCallQuestion, context: Context) -> PreCallVerdict:
    return PreCallVerdict(allowed=True, subject="ann", seconds=60)


@shop.handles(cancel)
@shop.handles(look)
async def done(request: Which, context: Context) -> Which:
    return request


BY_COOKIE = {"topic": decide.topic, "headers": ["Cookie", "X-Session"]}
LISTED = {"paths": ["/orders/*"], "origins": ["https://shop.example"], "credentials": True}
TOKENS_ALONE = {**LISTED, "credentials": False}
FOR_ALL = {"paths": ["/orders/*"], "origins": ["*"]}

ROWS: dict[str, tuple[list[dict[str, Any]], str, str | None, int]] = {
    "no page": ([], "POST", None, 200),
    "a page of our own": ([], "POST", "http://{host}", 200),
    "our own behind a proxy that ends TLS": ([], "POST", "https://{host}", 200),
    "another": ([], "POST", "https://evil.example", 403),
    "another, with our name within its own": ([], "POST", "https://{host}.evil.example", 403),
    "one that says nothing of itself": ([], "POST", "null", 403),
    "a listed one": ([LISTED], "POST", "https://shop.example", 200),
    "another beside a listed one": ([LISTED], "POST", "https://evil.example", 403),
    "one that is listed without credentials": ([TOKENS_ALONE], "POST", "https://shop.example", 403),
    "any, where all may": ([FOR_ALL], "POST", "https://evil.example", 403),
    "another that only reads, which it cannot": ([], "GET", "https://evil.example", 200),
}


@pytest.mark.parametrize(("cors", "method", "origin", "status"), ROWS.values(), ids=ROWS)
async def test_a_page_acts_for_its_visitor_where_it_may(
    cors: list[dict[str, Any]], method: str, origin: str | None, status: int
) -> None:
    path = "/orders/1" if method == "GET" else "/orders/1/cancel"
    async with serving([cancel, look], [shop], pre_call=BY_COOKIE, cors=cors) as site:
        sent = {"Cookie": "session=1"}
        if origin is not None:
            sent["Origin"] = origin.format(host=site.base.partition("://")[2])
        answer = await site.ask(method, path, headers=sent)

    assert answer.status == status


async def test_a_credential_that_no_browser_sends_by_itself_is_one_from_anywhere() -> None:
    evil = {"Origin": "https://evil.example"}
    async with serving([cancel], [shop], pre_call={**BY_COOKIE, "headers": ["X-Session"]}) as site:
        by_header = await site.ask("POST", "/orders/1/cancel", headers={"X-Session": "1", **evil})
        by_token = await site.as_caller("ann", "POST", "/orders/1/cancel", headers=evil)

    assert (by_header.status, by_token.status) == (200, 200)
