"""Limits at the door of a real edge: who is let through, who is not, and what both are told."""

import asyncio
from uuid import uuid4

import pytest
from support.waiting import until

from busgate.contracts import Caller

SLOW = {"count": 3, "window": 3600, "burst": 3}


async def statuses(client, path, times, **options):
    return [(await client.get(path, **options)).status for _ in range(times)]


async def test_a_rate_counts_each_caller_for_itself(serve):
    client = await serve(rate=[{"name": "each"} | SLOW])

    alice = await statuses(client, "/things/1", 5, caller="alice")
    bob = await statuses(client, "/others/1", 5, caller="bob")
    assert (alice, bob) == ([200] * 3 + [429] * 2, [200] * 3 + [429] * 2)


async def test_who_is_over_a_rate_is_told_all_about_it(serve):
    client = await serve(rate=[{"name": "each", "count": 2, "window": 100, "burst": 1}])
    first, second = await client.get("/things/1"), await client.get("/things/1")

    assert first.headers["RateLimit-Policy"] == '"each";q=2;w=100'
    assert first.headers["RateLimit"] == '"each";r=0;t=50'
    assert "Retry-After" not in first.headers
    assert second.status == 429
    assert second.headers["Retry-After"] == "50"
    assert second.headers["RateLimit-Policy"] == '"each";q=2;w=100'
    assert second.headers["RateLimit"] == '"each";r=0;t=50'
    assert second.headers["Content-Type"] == "application/problem+json"
    document = second.json()
    assert document.pop("instance").startswith("urn:busgate:request:")
    assert document == {
        "type": "urn:busgate:rate-exceeded",
        "title": "Too many requests in a short time",
        "status": 429,
        "outcome": "not_executed",
        "by": "client",
        "detail": "the limit each lets 2 requests in 100 s through; the next is in 50 s",
        "violated-policies": ["each"],
    }


async def test_a_quota_is_told_as_one(serve):
    client = await serve(quota=[{"name": "daily", "count": 2, "per": "day"}])
    answers = [await client.get("/things/1") for _ in range(3)]

    assert [each.status for each in answers] == [200, 200, 429]
    assert answers[0].headers["RateLimit-Policy"] == '"daily";q=2;w=86400'
    assert answers[0].headers["RateLimit"].startswith('"daily";r=1;t=')
    assert answers[2].json()["type"] == "urn:busgate:quota-exceeded"
    assert answers[2].json()["violated-policies"] == ["daily"]
    assert 0 < int(answers[2].headers["Retry-After"]) <= 86400


async def test_limits_of_both_sides_of_authentication_are_told_together(serve):
    client = await serve(
        rate=[{"name": "wide", "by": ["address"], "count": 100, "window": 60, "burst": 100}, {"name": "each"} | SLOW]
    )
    answer = await client.get("/things/1")

    assert answer.headers["RateLimit-Policy"] == '"wide";q=100;w=60, "each";q=3;w=3600'
    assert answer.headers["RateLimit"] == '"wide";r=99;t=60, "each";r=2;t=3600'


async def test_what_is_refused_for_another_reason_is_told_its_limits_too(serve):
    client = await serve(rate=[{"name": "wide", "by": ["address"]} | SLOW])
    forbidden = await client.get("/secrets/1", caller=Caller("alice"))

    assert forbidden.status == 403
    assert forbidden.headers["RateLimit"] == '"wide";r=2;t=3600'


async def test_an_address_is_limited_before_any_credential_is_looked_at(serve):
    client = await serve(rate=[{"name": "wide", "by": ["address"]} | SLOW])
    forged = {"Authorization": "Bearer a.b.c"}

    assert await statuses(client, "/things/1", 5, caller=None, headers=forged) == [401] * 3 + [429] * 2


async def test_who_may_not_call_uses_up_nothing_of_a_caller(serve):
    client = await serve(rate=[{"name": "each"} | SLOW])
    forbidden = await statuses(client, "/secrets/1", 5, caller=Caller("alice"))
    forged = await statuses(client, "/things/1", 5, caller=None)

    assert (forbidden, forged) == ([403] * 5, [401] * 5)
    assert await statuses(client, "/things/1", 4, caller=Caller("alice")) == [200] * 3 + [429]


async def test_a_limit_is_about_the_contracts_that_it_names(serve):
    client = await serve(rate=[{"name": "each", "topics": ["shop.things.*"]} | SLOW])

    assert await statuses(client, "/things/1", 4) == [200] * 3 + [429]
    assert await statuses(client, "/others/1", 4) == [200] * 4
    assert "RateLimit" not in (await client.get("/others/1")).headers


async def test_contracts_share_a_limit_unless_it_counts_by_contract(serve):
    client = await serve(
        rate=[
            {"name": "all", "paths": ["/others/*", "/things/*"], "by": ["caller"]} | SLOW,
            {"name": "one", "paths": ["/secrets/*", "/public/*"], "by": ["contract"]} | SLOW,
        ]
    )

    assert await statuses(client, "/things/1", 2) + await statuses(client, "/others/1", 2) == [200] * 3 + [429]
    assert await statuses(client, "/secrets/1", 3) + await statuses(client, "/public/1", 3) == [200] * 6


async def test_a_limit_by_nothing_counts_everybody_together(serve):
    client = await serve(rate=[{"name": "all", "by": []} | SLOW])

    assert [(await client.get("/things/1", caller=name)).status for name in "abcd"] == [200] * 3 + [429]


async def test_a_limit_by_a_header_takes_those_without_it_as_one(serve):
    client = await serve(rate=[{"name": "tenant", "by": ["header:X-Tenant"]} | SLOW])

    without = [(await client.get("/things/1", caller=name)).status for name in "abcd"]
    empty = await statuses(client, "/things/1", 1, headers={"X-Tenant": ""})
    named = await statuses(client, "/things/1", 4, headers={"x-tenant": "t1"})
    assert (without, empty, named) == ([200] * 3 + [429], [429], [200] * 3 + [429])


async def test_a_limit_by_a_path_variable_counts_each_value(serve):
    client = await serve(rate=[{"name": "id", "by": ["path:id"]} | SLOW])

    assert await statuses(client, "/things/1", 4) == [200] * 3 + [429]
    assert await statuses(client, "/things/2", 4) == [200] * 3 + [429]


async def test_where_nobody_is_known_the_address_stands_for_the_caller(serve):
    client = await serve(rate=[{"name": "each"} | SLOW])

    assert await statuses(client, "/public/1", 4, caller=None) == [200] * 3 + [429]


async def test_several_limits_hold_together_and_what_one_refuses_no_other_counts(serve):
    client = await serve(rate=[{"name": "fast"} | SLOW], quota=[{"name": "daily", "count": 4, "per": "day"}])
    answers = [await client.get("/things/1") for _ in range(6)]

    assert [each.status for each in answers] == [200] * 3 + [429] * 3
    assert answers[-1].headers["RateLimit"].split(", ")[1].startswith('"daily";r=1;')


PLANS = [
    {"name": "gold", "callers": [{"issuer": "test", "subject": "midas"}], "rate": [SLOW], "concurrent": 2},
    {"name": "claimed", "claims": [{"name": "plan", "values": ["c"]}], "quota": [{"count": 2, "per": "month"}]},
    {"name": "free", "default": True, "rate": [{"count": 1, "window": 3600}]},
]


async def test_each_caller_has_the_limits_of_its_plan(serve):
    client = await serve(plan=PLANS)
    gold = await statuses(client, "/things/1", 4, caller="midas")
    claimed = await statuses(client, "/things/1", 4, caller=Caller("eve", claims={"plan": "c"}))
    free = await statuses(client, "/things/1", 4, caller="joe")

    assert (gold, claimed, free) == ([200] * 3 + [429], [200] * 2 + [429] * 2, [200] + [429] * 3)


async def test_who_has_no_plan_has_the_limits_of_all_callers(serve):
    client = await serve(plan=PLANS[:1], rate=[{"name": "each", "count": 2, "burst": 2, "window": 3600}])

    assert await statuses(client, "/things/1", 3, caller="joe") == [200, 200, 429]
    assert await statuses(client, "/things/1", 3, caller="midas") == [200, 200, 429]


async def test_a_plan_is_told_by_its_name(serve):
    client = await serve(plan=PLANS)

    assert (await client.get("/things/1", caller="joe")).headers["RateLimit-Policy"] == '"free-3600s";q=1;w=3600'
    refused = await client.get("/things/1", caller="joe")
    assert refused.json()["violated-policies"] == ["free-3600s"]


async def test_a_plan_says_nothing_of_public_contracts(serve):
    client = await serve(plan=PLANS)

    assert await statuses(client, "/public/1", 3, caller=None) == [200] * 3


async def test_so_many_run_at_a_time_and_places_come_back(serve, gate):
    client = await serve(concurrent=[{"name": "few", "count": 2}])
    gate.shut()
    running = [asyncio.create_task(client.get("/things/1", caller="alice")) for _ in range(5)]
    await until(lambda: sum(task.done() for task in running) == 3, limit=10)
    other = asyncio.create_task(client.get("/things/1", caller="bob"))
    gate.open()
    answers = [await task for task in running]
    refused = [answer for answer in answers if answer.status == 429]

    assert len(refused) == 3
    assert refused[0].json()["type"] == "urn:busgate:too-many-at-once"
    assert refused[0].json()["violated-policies"] == ["few"]
    assert refused[0].headers["Retry-After"] == "1"
    assert (await other).status == 200
    assert await statuses(client, "/things/1", 3, caller="alice") == [200] * 3


async def test_the_places_of_a_plan_are_each_callers_own(serve, gate):
    client = await serve(plan=[{"name": "gold", "default": True, "concurrent": 1}])
    gate.shut()
    running = [asyncio.create_task(client.get("/things/1", caller=name)) for name in ("a", "a", "b", "b")]
    await until(lambda: sum(task.done() for task in running) == 2, limit=10)
    gate.open()

    assert sorted([(await task).status for task in running]) == [200, 200, 429, 429]


async def test_who_hangs_up_gives_its_place_back(serve, gate):
    client = await serve(concurrent=[{"name": "one", "by": [], "count": 1}])
    gate.shut()
    task = asyncio.create_task(client.get("/things/1"))
    await until(lambda: gate.waiting, limit=10)
    refused = await client.get("/things/1")
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    gate.open()

    assert refused.status == 429
    async with asyncio.timeout(10):
        while (await client.get("/things/1")).status != 200:
            await asyncio.sleep(0.005)


async def test_a_route_without_limits_has_no_step(serve):
    answers = [await (await serve()).get("/things/1")]

    assert "RateLimit" not in answers[0].headers


@pytest.mark.parametrize("value", ["x" * 7000, "\u00e9", "a,b:c|d", "'; DROP TABLE kept; --"])
async def test_a_header_of_whatever_text_is_one_key(serve, value):
    client = await serve(rate=[{"name": "tenant", "by": ["header:X-Tenant", "caller"]} | SLOW])

    assert await statuses(client, "/things/1", 4, headers={"X-Tenant": value}) == [200] * 3 + [429]


async def test_a_flood_of_one_caller_does_not_reach_a_distant_store(serve, redis_node):
    client = await serve(rate=[{"name": "each"} | SLOW], store={"url": redis_node.url, "prefix": f"{uuid4()}:"})
    first = [await client.get("/things/1") for _ in range(4)]
    calls = await redis_node.scripts_run()
    flood = await asyncio.gather(*(client.get("/things/1") for _ in range(50)))

    assert [each.status for each in first] == [200] * 3 + [429]
    assert {each.status for each in flood} == {429}
    assert flood[0].json()["violated-policies"] == ["each"]
    assert int(flood[0].headers["Retry-After"]) in (1199, 1200, 3599, 3600)
    assert await redis_node.scripts_run() - calls <= 10  # of 50; looks whether it is well, and one a second
