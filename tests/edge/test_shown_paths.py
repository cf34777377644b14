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


class Done(BaseModel):
    pass


reset = Call("shop.reset.v1", http.post("/accounts/{account}/resets/{token}"), request=Reset, reply=Done, public=True)
shop = Service("shop")


@shop.handles(reset)
async def answer(request: Reset, context: Context) -> Done:
    return Done()


@pytest.mark.parametrize(
    ("sent", "shown"),
    [
        ("/accounts/ann/resets/s3cret", "/accounts/ann/resets/***"),
        ("/accounts/a%20b%25/resets/s3cret?x=s3cret", "/accounts/a%20b%25/resets/***"),
        ("http://{host}/accounts/ann/resets/s3cret", "/accounts/ann/resets/***"),
        ("/accounts/ann", "/accounts/ann"),
    ],
)
async def test_a_secret_in_a_path_is_in_no_record(sent: str, shown: str) -> None:
    assert await recorded("POST", sent) == [shown]


@pytest.mark.parametrize(
    ("sent", "shown"),
    [
        ("/accounts/ann/resets/s3cret", "/accounts/ann/resets/***"),
        ("/accounts/ann/resets/s3cret/", "/accounts/ann/resets/***"),
        ("/accounts/ann/resets/s3cret/more", "/accounts/ann/resets/***"),
        ("//accounts/ann//resets/s3cret", "//accounts/ann//resets/***"),
        ("/Accounts/ann/%72esets/s3cret?x=s3cret", "/Accounts/ann/%72esets/***"),
        ("/api/v2/accounts/ann/resets/s3cret", "/api/v2/accounts/ann/resets/***"),
        ("http://{host}/accounts/ann/resets/s3cret", "http://{host}/accounts/ann/resets/***"),
        ("/accounts/ann/resets?x=s3cret", "/accounts/ann/resets"),
        ("/orders/ann//resets", "/orders/ann//resets"),
    ],
)
async def test_nor_where_no_contract_is_found(sent: str, shown: str) -> None:
    """Of another method, with a segment too many, below a prefix that a proxy forgot to take away."""
    assert await recorded("GET", sent) == [shown]


async def recorded(method: str, sent: str) -> list[str]:
    """The paths that are in the records of an edge after one request."""
    async with serving([reset], [shop]) as site:
        host = site.base.partition("://")[2]
        await site.bytes(
            f"{method} {sent.format(host=host)} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode()
        )
        await site.edge.close()
    return [record[3].replace(host, "{host}") for record in site.records]
