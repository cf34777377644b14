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
    async with serving([reset], [shop]) as site:
        host = site.base.partition("://")[2]
        await site.bytes(
            f"POST {sent.format(host=host)} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode()
        )
        await site.edge.close()

    assert [record[3] for record in site.records] == [shown]
