"""What distant stores do: all that one request needs in one go, and places that go with the process that holds them."""

import asyncio
import secrets

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.stores import Clock
from support.waiting import until

from busgate.edge.stores.jobs import ALIVE, Get, Hold, Once, Put, Take
from busgate.edge.stores.leases import LEASE, Leases
from busgate.edge.stores.redis import RedisStore
from busgate.edge.stores.redis_url import RedisUrl
from busgate.edge.stores.rules import Ask, Pace, Tally
from busgate.edge.stores.sqlite import SqliteStore
from busgate.edge.stores.store import StoreUnavailable

DAY = 86_400_000_000
ONE = Ask("rate:one:a", Pace.of(1, 60, 1))
MANY = Ask("quota:many:a", Tally(100), DAY)


@pytest.fixture(params=["sqlite", "redis"])
async def store(request, new_store):
    made = new_store(request.param)
    await made.start()
    yield made
    await made.close()


async def hold(store, holder, *, change=1, most=3, key="place:one:a"):
    return (await store.do([Hold(key, holder, change, most, DAY)]))[0]


async def lives(store, holder):
    await store.put(ALIVE + holder, b"", LEASE)


async def test_jobs_of_one_request_are_done_in_their_order(store):
    took, first, nothing, put, value = await store.do(
        [Take([ONE, MANY]), Once("nonce:a", DAY), Get("cache:a"), Put("cache:a", b"x", DAY), Get("cache:a")]
    )

    assert (took.allowed, [left for left, _, _ in took.standings]) == (True, [0, 99])
    assert (first, nothing, put, value) == (True, None, None, b"x")


@pytest.mark.parametrize("no", [Take([ONE]), Once("nonce:a", DAY), Hold("place:one:a", "me", 2, 1, DAY)])
async def test_what_follows_a_no_is_not_done_and_the_next_request_is(store, no):
    await store.do([Take([ONE]), Once("nonce:a", DAY)])
    refused = store.do([Take([MANY]), no, Take([MANY]), Once("nonce:b", DAY), Put("cache:a", b"x", DAY)])
    after = store.do([Take([MANY]), Once("nonce:b", DAY), Get("cache:a")])

    assert len(await refused) == 2
    took, first, value = await after
    assert ([left for left, _, _ in took.standings], first, value) == ([98], True, None)


async def test_holders_have_so_many_places_together_as_there_are(store):
    await asyncio.gather(lives(store, "a"), lives(store, "b"))

    assert [await hold(store, holder) for holder in "abab"] == [True, True, True, False]
    assert [await hold(store, "a", change=-1), await hold(store, "b")] == [True, True]
    assert await hold(store, "a", key="place:one:b")


async def test_places_of_who_is_not_alive_any_more_are_free(store, clock):
    await asyncio.gather(lives(store, "a"), lives(store, "b"))
    assert [await hold(store, "a") for _ in range(3)] == [True] * 3
    clock.forward(LEASE - 1)
    await lives(store, "b")
    before = await hold(store, "b")
    clock.forward(1)

    assert [before, *[await hold(store, "b") for _ in range(4)]] == [False, True, True, True, False]


async def test_to_give_back_what_one_does_not_have_takes_nothing_from_others(store):
    await asyncio.gather(lives(store, "a"), lives(store, "b"))
    assert [await hold(store, "a"), await hold(store, "a")] == [True, True]
    assert await hold(store, "b", change=-1)

    assert [await hold(store, "b"), await hold(store, "b")] == [True, False]


async def take(leases, store, key="place:one:a", most=2):
    asked = leases.more(key, most)
    (held,) = await store.do([asked])
    if held:
        leases.taken(asked)
    return held


@pytest.fixture
async def new_leases(store):
    made = []

    async def new():
        leases = Leases(store)
        made.append(leases)
        await leases.renew()
        return leases

    yield new
    for leases in made:
        await leases.close()


async def test_a_process_that_does_not_say_that_it_lives_loses_its_places(store, clock, new_leases):
    dead, alive = await new_leases(), await new_leases()
    assert [await take(dead, store), await take(dead, store)] == [True, True]
    clock.forward(LEASE - 1)
    await alive.renew()
    before = await take(alive, store)
    clock.forward(1)

    assert (before, await take(alive, store)) == (False, True)


async def test_a_process_that_was_held_up_tells_its_places_anew(store, clock, new_leases):
    late, other = await new_leases(), await new_leases()
    assert await take(late, store)
    clock.forward(LEASE)
    await other.renew()
    assert [await take(other, store), await take(other, store)] == [True, True]
    await late.renew()
    other.give_back("place:one:a")

    assert not await take(other, store)
    late.give_back("place:one:a")
    assert await take(other, store)
    assert not await take(other, store)


async def test_a_place_that_was_taken_while_the_holder_changed_is_counted_once(store, new_leases):
    leases, other = await new_leases(), await new_leases()
    asked = leases.more("place:one:a", 2)
    told = store.do([asked])
    leases.doubt()
    await leases.renew()
    assert await told == [True]
    leases.taken(asked)

    assert [await take(other, store), await take(other, store)] == [True, False]
    leases.give_back("place:one:a")
    assert await take(other, store)


async def test_places_of_a_process_that_ends_are_free_at_once(store, new_leases):
    ending, other = await new_leases(), await new_leases()
    await ending.start()
    assert [await take(ending, store), await take(ending, store)] == [True, True]
    await ending.close()

    assert await take(other, store)


async def test_what_the_store_may_have_done_is_told_anew(faulty_redis, clock):
    store = RedisStore(RedisUrl.parse(faulty_redis.url, prefix="doubt:"), clock=clock)
    await store.start()
    leases = Leases(store)
    await leases.renew()
    assert await take(leases, store)
    faulty_redis.kill()
    with pytest.raises(StoreUnavailable):
        await leases.renew()
    leases.doubt()
    await faulty_redis.start()
    await until(lambda: not store.unready, limit=15)
    await leases.renew()

    assert [await take(leases, store), await take(leases, store)] == [True, False]
    await store.close()


async def test_no_name_that_a_process_had_while_the_store_was_away_counts_on(faulty_redis):
    store = RedisStore(RedisUrl.parse(faulty_redis.url, prefix="names:"))
    await store.start()
    leases = Leases(store)
    await leases.renew()
    assert await take(leases, store)
    faulty_redis.pause()
    for _ in range(3):  # what was sent at first is done when it goes on; the next are not sent at all
        with pytest.raises(StoreUnavailable):
            await leases.renew()
        leases.doubt()
    faulty_redis.resume()
    await until(lambda: not store.unready, limit=15)
    await leases.renew()

    assert [await take(leases, store), await take(leases, store)] == [True, False]
    await store.close()


# -- whatever is asked in whatever order, both do the same

names = st.sampled_from(["a", "b"])
JOBS = st.one_of(
    st.builds(
        lambda name: Take([Ask(f"rate:x:{name}", Pace.of(2, 60, 2)), Ask(f"quota:x:{name}", Tally(3), DAY)]), names
    ),
    st.builds(lambda name: Once(f"nonce:{name}", DAY), names),
    st.builds(lambda name: Get(f"cache:{name}"), names),
    st.builds(lambda name, value: Put(f"cache:{name}", value, DAY), names, st.binary(max_size=3)),
    st.builds(lambda name: Put(ALIVE + name, b"", 20_000_000), names),
    st.builds(lambda key, name, n: Hold(f"place:x:{key}", name, n, 2, DAY), names, names, st.sampled_from([1, 2, -1])),
)


@given(st.lists(st.tuples(st.lists(JOBS, max_size=5), st.integers(0, 15)), max_size=8))
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_both_do_the_same_with_whatever_is_asked(redis_node, tmp_path_factory, requests):
    async def results():
        clock = Clock()
        url = RedisUrl.parse(redis_node.url, prefix=f"{secrets.token_hex(8)}:")
        stores = [SqliteStore(tmp_path_factory.mktemp("store") / "store.db", clock=clock), RedisStore(url, clock=clock)]
        for store in stores:
            await store.start()
        told = []
        for jobs, passed in requests:
            told.append([await store.do(jobs) for store in stores])
            clock.forward(passed)
        for store in stores:
            await store.close()
        return told

    for of_sqlite, of_redis in asyncio.run(results()):
        assert of_sqlite == of_redis
