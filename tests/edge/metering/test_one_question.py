"""A call asks a distant store once, whatever it needs of it; counted by what Redis hears."""

import asyncio
import secrets
from contextlib import suppress
from uuid import uuid4

import pytest
from support.signed import request
from support.site import serving

from busgate.contracts import Caller
from busgate.contracts.signing import Signer
from busgate.edge.looks import OneQuestion
from busgate.edge.metering.meter import Counts
from busgate.edge.metering.shared import SharedPlaces
from busgate.edge.refusal import UNAUTHENTICATED, Refusal
from busgate.edge.stores.leases import Leases
from busgate.edge.stores.redis import RedisStore
from busgate.edge.stores.redis_url import RedisUrl
from busgate.workers import Context, Service

from .conftest import Read, Text, read

WIDE = {"count": 1000, "window": 3600, "burst": 1000}
SECRET = secrets.token_urlsafe(32)
EVERYTHING = {
    "rate": [
        {"name": "address", "by": ["address"]} | WIDE,
        {"name": "each"} | WIDE,
        {"name": "contract", "by": ["contract"]} | WIDE,
    ],
    "quota": [{"name": "daily", "count": 1000, "per": "day"}],
    "plan": [{"name": "gold", "default": True, "rate": [WIDE], "quota": [{"count": 1000, "per": "month"}]}],
    "signature": {"keys": [{"keyid": "shop-1", "subject": "shop", "secret": SECRET}]},
}
POLICIES = ["address", "contract", "each", "daily", "gold-3600s", "gold-month"]
PLACES = [{"name": "one", "by": ["address"], "count": 100}, {"name": "two", "count": 100}]


@pytest.fixture
def store(redis_node):
    return {"url": redis_node.url, "prefix": f"{uuid4()}:"}


def scripts(lines):
    """Commands but for those that find out whether Redis is well."""
    return [line for line in lines if "probe:" not in line]


def signed(client, path="/things/1"):
    url = client.address + path
    return {"caller": None, "headers": Signer("shop-1", SECRET).headers("GET", url, b"", {})}


async def test_a_signed_call_with_every_limit_is_one_command(serve, redis_node, store):
    client = await serve(store=store, **EVERYTHING)
    await client.get("/things/1", **signed(client))
    async with redis_node.heard() as lines:
        answer = await client.get("/things/1", **signed(client))

    assert answer.status == 200
    assert [f'"{name}"' in answer.headers["RateLimit"] for name in POLICIES] == [True] * 6
    (command,) = scripts(lines)
    assert '"EVALSHA"' in command
    assert all(f"{store['prefix']}{kind}" in command for kind in ("rate:address", "quota:gold-month", "nonce:"))


async def test_a_held_place_is_taken_in_the_same_command_and_given_back_in_one_that_nobody_waits_for(
    serve, redis_node, store, gate
):
    client = await serve(store=store, concurrent=PLACES, **EVERYTHING)
    gate.shut()
    async with redis_node.heard() as taking:
        call = asyncio.create_task(client.get("/things/1", **signed(client)))
        async with asyncio.timeout(10):
            while not gate.waiting:
                await asyncio.sleep(0)
    async with redis_node.heard() as giving_back:
        gate.open()
        status = (await call).status

    assert status == 200
    ours = [line for line in scripts(taking) if f"{store['prefix']}rate:" in line]
    assert len(ours) == 1
    assert all(f"{store['prefix']}place:{name}:" in ours[0] for name in ("one", "two"))
    assert len([line for line in scripts(giving_back) if "place:one" in line or "place:two" in line]) == 1


async def test_calls_under_load_share_commands(serve, redis_node, store):
    client = await serve(store=store, **EVERYTHING)
    async with redis_node.heard() as lines:
        answers = await asyncio.gather(*(client.get("/things/1") for _ in range(200)))

    assert {each.status for each in answers} == {200}
    assert len(scripts(lines)) < 150


@pytest.mark.parametrize("refused", [{"caller": None}, {"path": "/secrets/1", "caller": Caller("ann")}])
async def test_a_refused_call_asks_once_as_well(serve, redis_node, store, refused):
    client = await serve(store=store, **EVERYTHING)
    async with redis_node.heard() as lines:
        answer = await client.get(refused.get("path", "/things/1"), caller=refused["caller"])

    assert answer.status in (401, 403)
    assert answer.headers["RateLimit"].startswith('"address";r=999')
    assert len(scripts(lines)) == 1


async def test_who_is_over_the_limit_of_an_address_is_not_told_whether_the_credential_was_good(serve, store):
    few = {"name": "address", "by": ["address"], "count": 2, "window": 3600, "burst": 2}
    client = await serve(store=store, rate=[few, {"name": "each"} | WIDE])
    forged = {"Authorization": "Bearer a.b.c"}
    guesses = await asyncio.gather(
        *(client.get("/things/1", caller=None, headers=forged) for _ in range(10)),
        *(client.get("/things/1") for _ in range(10)),
    )

    assert sum(each.status != 429 for each in guesses) == 2
    assert {each.json()["violated-policies"][0] for each in guesses if each.status == 429} == {"address"}


async def test_a_replayed_signature_is_refused_though_it_may_not_call_either_and_names_nobody(serve, store):
    client = await serve(store=store, **EVERYTHING)
    sent = signed(client, "/secrets/1")
    forbidden, replayed = await client.get("/secrets/1", **sent), await client.get("/secrets/1", **sent)

    assert (forbidden.status, replayed.status) == (403, 401)
    assert 'error="invalid_signature"' in ", ".join(replayed.headers.getall("WWW-Authenticate"))


async def test_what_a_replay_would_use_up_of_its_caller_is_not_used_up(serve, store):
    client = await serve(store=store, **EVERYTHING)
    sent = signed(client)
    statuses = [(await client.get("/things/1", **sent)).status for _ in range(3)]
    last = await client.get("/things/1", **signed(client))

    assert statuses == [200, 401, 401]
    assert '"each";r=998' in last.headers["RateLimit"]


async def test_no_record_names_whose_signature_was_not_looked_at_to_its_end(faulty_redis):
    one = {"name": "address", "by": ["address"], "count": 1, "window": 3600, "burst": 1}
    store = {"url": faulty_redis.url, "prefix": f"{uuid4()}:"}
    things = Service("things")

    @things.handles(read)
    async def answer(request: Read, context: Context) -> Text:
        return Text(text=request.id)

    async def ask(site):
        headers = Signer("shop-1", SECRET).headers("GET", f"{site.base}/things/1", b"", {})
        await site.ask("GET", "/things/1", headers=headers)

    keys = EVERYTHING["signature"]
    async with (
        serving([read], [things], store=store, signature=keys, rate=[one]) as limited,
        serving([read], [things], store=store, signature=keys) as unlimited,
    ):
        await ask(limited)
        await ask(limited)
        faulty_redis.kill()
        await ask(unlimited)

    records = [*limited.records, *unlimited.records]
    assert [(each[6], each[13]) for each in records] == [(200, "shop"), (429, ""), (503, "")]


async def test_a_signed_call_is_refused_without_the_store_though_limits_are_let_through(serve, faulty_redis):
    store = {"url": faulty_redis.url, "prefix": "one-question:", "when_unavailable": "allow"}
    client = await serve(store=store, **EVERYTHING)
    faulty_redis.kill()

    by_token, by_signature = await client.get("/things/1"), await client.get("/things/1", **signed(client))
    assert (by_token.status, by_signature.status) == (200, 503)
    assert by_signature.json()["type"] == "urn:busgate:store-unavailable"


async def test_the_place_of_a_client_that_hung_up_while_it_was_asked_for_is_given_back(store):
    distant = RedisStore(RedisUrl.parse(store["url"], prefix=store["prefix"]))
    await distant.start()
    leases = Leases(distant)
    await leases.start()
    places = SharedPlaces("one", 1, Counts(), leases, open_without=False)
    question = OneQuestion(
        [lambda exchange: places.take(exchange, lambda _: "a")],
        distant,
        refuse=lambda: Refusal(UNAUTHENTICATED),
        unchecked=lambda: None,
    )
    exchange, later = request(), request()
    gone = asyncio.create_task(question(exchange))
    await asyncio.sleep(0)
    gone.cancel()
    with suppress(asyncio.CancelledError):
        await gone
    held = exchange.held or []
    for give_back in held:  # as the edge does when a request ends
        give_back()
    await question(later)

    assert gone.cancelled()
    assert (len(held), len(leases)) == (1, 1)
    await leases.close()
    await distant.close()
