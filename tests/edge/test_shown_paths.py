"""Lines of calls show no value that a contract marks as secret, in its path neither."""

from typing import Annotated

import pytest
from pydantic import BaseModel
from support.site import serving

from busgate.contracts import Call, Secret, http
from busgate.workers import Context, Service


class Reset(BaseModel):
    account: str
    token: Annotated[str, Secret()]


class Invitation(BaseModel):
    group: str
    code: Annotated[str, Secret()]
    key: Annotated[str, Secret()]


class Done(BaseModel):
    pass


reset = Call("shop.reset.v1", http.post("/accounts/{account}/resets/{token}"), request=Reset, reply=Done, public=True)
join = Call(
    *("shop.join.v1", http.put("/Groups/{group}/{code}/keys/{key}")), request=Invitation, reply=Done, public=True
)
shop = Service("shop")


@shop.handles(reset)
async def answer(request: Reset, context: Context) -> Done:
    return Done()


@shop.handles(join)
async def let_in(request: Invitation, context: Context) -> Done:
    return Done()


@pytest.mark.parametrize(
    ("sent", "shown"),
    [
        ("POST /accounts/ann/resets/s3cret", "/accounts/ann/resets/***"),
        ("POST /accounts/a%20b%25/resets/s3cret?x=s3cret", "/accounts/a%20b%25/resets/***"),
        ("POST http://{host}/accounts/ann/resets/s3cret", "/accounts/ann/resets/***"),
        ("PUT /Groups/1/s3cret/keys/s3cret", "/Groups/1/***/keys/***"),
    ],
)
async def test_a_secret_in_a_path_is_in_no_record(sent: str, shown: str) -> None:
    assert await recorded(sent) == [shown]


UNSERVED = [
    pytest.param("GET /accounts/ann/resets/s3cret", "/accounts/ann/resets/***", id="another method"),
    pytest.param("POST /accounts/ann/resets/s3cret/", "/accounts/ann/resets/***", id="a slash too many"),
    pytest.param("POST /accounts/ann/resets/s3cret/more", "/accounts/ann/resets/***", id="a segment too many"),
    pytest.param("POST /accounts//resets/s3cret", "/accounts//resets/***", id="an empty segment"),
    pytest.param("POST //accounts/ann//resets//s3cret", "//accounts/ann//resets/***", id="empty segments"),
    pytest.param("POST /api/v2/accounts/ann/resets/s3cret", "/api/v2/accounts/ann/resets/***", id="below a prefix"),
    pytest.param("POST /ann/resets/s3cret", "/ann/resets/***", id="without its first segment"),
    pytest.param("POST /Accounts/ann/RESETS/s3cret", "/Accounts/ann/RESETS/***", id="in capitals"),
    pytest.param("POST /groups/1/s3cret/keys/s3cret", "/groups/***", id="without capitals"),
    pytest.param("GET /Groups/1/s3cret/keys/s3cret", "/Groups/***", id="another method, two secrets"),
    pytest.param("GET /resets/x/Groups/s3cret", "/resets/***", id="as two contracts"),
    pytest.param("GET /accounts/ann/%72esets/s3cret", "/accounts/ann/***", id="encoded for nothing"),
    pytest.param("POST /accounts/ann/%2572esets/s3cret", "/accounts/ann/***", id="encoded twice"),
    pytest.param("POST /accounts/ann/resets%2Fs3cret", "/accounts/ann/resets/***", id="an encoded slash"),
    pytest.param("POST /accounts/ann/resets%3Fs3cret", "/accounts/ann/***", id="an encoded ?"),
    pytest.param("POST /accounts/ann/resets%09/s3cret", "/accounts/ann/***", id="a tab"),
    pytest.param("POST /accounts/ann/resets;v=1/s3cret", "/accounts/ann/***", id="a parameter"),
    pytest.param("POST /accounts/ann/resets#/s3cret", "/accounts/ann/***", id="a fragment"),
    pytest.param("POST /accounts\\ann\\resets\\s3cret", "/accounts\\ann\\resets/***", id="backslashes"),
    pytest.param("POST /accounts/ann/x/../resets/s3cret", "/accounts/ann/x/../resets/***", id="dots"),
    pytest.param("POST http://{host}/ann/resets/s3cret", "http://{host}/ann/resets/***", id="a whole URL"),
    pytest.param("POST http://u:s3cret@{host}/ann", "{host}/ann", id="a URL with a password"),
    pytest.param("POST /accounts/ann/resets?x=s3cret", "/accounts/ann/resets", id="a query"),
    pytest.param("POST /accounts/ann/resets/", "/accounts/ann/resets/", id="nothing that could be one"),
    pytest.param("POST /orders/a@b//c", "/orders/a@b//c", id="like none of them"),
    pytest.param("POST /a" + 4000 * "/a", "/a" + 99 * "/a", id="a long one"),
]


@pytest.mark.parametrize(("sent", "shown"), UNSERVED)
async def test_nor_in_one_that_nobody_serves(sent: str, shown: str) -> None:
    assert await recorded(sent) == [shown]


async def test_nor_in_what_a_browser_asks_before_a_call_from_elsewhere() -> None:
    cors = [{"origins": ["https://shop.example"]}]

    async with serving([reset], [shop], cors=cors) as site:
        asked = {"Origin": "https://shop.example", "Access-Control-Request-Method": "POST"}
        answer = await site.ask("OPTIONS", "/accounts/ann/resets/s3cret", headers=asked)
        await site.edge.close()

    assert (answer.status, [record[3] for record in site.records]) == (204, ["/accounts/ann/resets/***"])


async def test_a_secret_that_could_stand_anywhere_hides_all_paths_that_nobody_serves_and_no_other() -> None:
    contract = Call("shop.join.v1", http.put("/{group}/{code}"), request=Code, reply=Done, public=True)

    async with serving([contract, reset], [shop]) as site:
        for target in ("/docs/page.css", "/a/s3cret", "/accounts/ann/resets/a"):
            await site.ask("POST" if "resets" in target else "GET", target)
        await site.edge.close()

    assert [record[3] for record in site.records] == ["/docs/page.css", "/***", "/accounts/ann/resets/***"]


class Code(BaseModel):
    group: str
    code: Annotated[str, Secret()]


async def recorded(sent: str) -> list[str]:
    """The paths that are in the records of an edge after one request."""
    async with serving([reset, join], [shop]) as site:
        host = site.base.partition("://")[2]
        line = sent.replace("{host}", host)
        await site.bytes(f"{line} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
        await site.edge.close()
    return [record[3].replace(host, "{host}") for record in site.records]
