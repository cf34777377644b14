"""While the store is away, limits refuse or allow as the configuration says; and it is said."""

import asyncio

import pytest

RATE = [{"name": "each", "count": 3, "window": 3600, "burst": 3}]


async def test_requests_with_limits_are_refused_until_the_store_is_back(serve, faulty_redis):
    client = await serve(rate=RATE, store={"url": faulty_redis.url, "prefix": "away-refuse:"})
    before = (await client.get("/things/1")).status
    faulty_redis.kill()
    refused = await client.get("/things/1")
    again = await client.get("/things/1")
    await faulty_redis.start()

    assert (before, refused.status, again.status) == (200, 503, 503)
    assert refused.json()["type"] == "urn:busgate:store-unavailable"
    assert refused.json()["outcome"] == "not_executed"
    assert refused.headers["Retry-After"] == "1"
    assert faulty_redis.password not in refused.body.decode()
    async with asyncio.timeout(15):
        while (await client.get("/things/1")).status != 200:
            await asyncio.sleep(0.01)


async def test_requests_are_let_through_uncounted_where_the_configuration_says_so(serve, faulty_redis):
    store = {"url": faulty_redis.url, "prefix": "away-allow:", "when_unavailable": "allow"}
    client = await serve(rate=RATE, store=store)
    faulty_redis.kill()
    answers = [await client.get("/things/1") for _ in range(5)]

    assert [each.status for each in answers] == [200] * 5
    assert "RateLimit" not in answers[0].headers


@pytest.mark.parametrize("when_unavailable", ["refuse", "allow"])
async def test_requests_without_limits_need_no_store(serve, faulty_redis, when_unavailable):
    store = {"url": faulty_redis.url, "when_unavailable": when_unavailable}
    client = await serve(rate=[RATE[0] | {"topics": ["shop.things.*"]}], store=store)
    faulty_redis.kill()

    assert (await client.get("/others/1")).status == 200


async def test_places_are_refused_or_held_by_each_process_on_its_own_and_counted_anew_later(serve, faulty_redis, gate):
    places = [{"name": "one", "count": 1}]
    url = faulty_redis.url
    closed = await serve(concurrent=places, store={"url": url, "prefix": "away-places:"})
    opened = await serve(concurrent=places, store={"url": url, "prefix": "away-places:", "when_unavailable": "allow"})
    faulty_redis.kill()
    gate.shut()
    refused = await closed.get("/things/1")
    running = asyncio.create_task(opened.get("/things/1"))
    async with asyncio.timeout(10):
        while not gate.waiting:
            await asyncio.sleep(0.01)
    second = await opened.get("/things/1")
    await faulty_redis.start()

    assert (refused.status, second.status) == (503, 429)
    async with asyncio.timeout(30):
        while (await closed.get("/things/2", headers={"Prefer": "wait=1"})).status != 429:
            await asyncio.sleep(0.1)
    gate.open()
    assert (await running).status == 200
    async with asyncio.timeout(10):
        while (await closed.get("/things/1")).status != 200:
            await asyncio.sleep(0.01)


async def test_a_sqlite_store_holds_limits_as_well(serve, tmp_path):
    client = await serve(rate=RATE, store={"url": f"sqlite://{tmp_path}/store.db"})

    assert [(await client.get("/things/1")).status for _ in range(5)] == [200] * 3 + [429] * 2
