"""What an edge asks of headers: those that decide stand once, and are for more than one hop."""

from typing import Annotated, Any

import pytest
from pydantic import BaseModel
from support.site import serving

from busgate.contracts import Call, http

DECIDE = {"topic": "auth.decide.v1", "headers": ["X-Session"]}
RATE = {"name": "by-region", "count": 100, "window": 60, "by": ["header:X-Region"]}
SIGNED = {"components": ["@method", "x-batch"]}


class Where(BaseModel):
    language: Annotated[str, http.Header("X-Language")] = "en"


look = Call("test.look.v1", http.get("/look"), request=Where, reply=Where)

ROWS: dict[str, tuple[dict[str, Any], str, bool]] = {
    "of a contract": ({}, "X-Language", True),
    "of API keys": ({"api_keys": {"header": "X-Own-Key"}}, "X-Own-Key", True),
    "of the service that decides who calls": ({"pre_call": DECIDE}, "X-Session", True),
    "of a limit": ({"rate": [RATE]}, "X-Region", False),
    "that signatures must cover": ({"signature": SIGNED}, "X-Batch", False),
    "of trusted proxies": ({"trusted_proxies": ["192.0.2.1"]}, "X-Forwarded-For", False),
    "of trusted proxies, the other": (
        {"trusted_proxies": ["192.0.2.1"], "address_header": "Forwarded"},
        "Forwarded",
        False,
    ),
}


@pytest.mark.parametrize(("settings", "name", "once"), ROWS.values(), ids=ROWS)
async def test_a_header_that_something_decides_by_is_kept(settings: dict[str, Any], name: str, once: bool) -> None:
    """Named in Connection, whoever goes by that would take it away; repeated, two readers could read two values."""
    async with serving([look], **settings) as site:
        kept = await site.raw("GET", "/look", [(name, "a"), ("Connection", f"keep-alive, {name.lower()}")])
        repeated = await site.raw("GET", "/look", [(name, "a"), (name, "b")])
        alone = await site.raw("GET", "/look", [(name, "a")])

    assert kept.status == 400
    assert alone.status in (401, 503)  # there is no such service
    assert (repeated.status == 400) == once
