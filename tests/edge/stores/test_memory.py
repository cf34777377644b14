"""The memory store holds its bounds, and a flood of keys lets nobody through who is over a limit."""

import pytest

from busgate.edge.stores.memory import SHARED, MemoryStore
from busgate.edge.stores.rules import Ask, Pace, Tally
from busgate.edge.stores.store import StoreUnavailable

PACE = Pace.of(3, 60, 3)
CAPACITY = 200
DAY = 86_400_000_000


@pytest.fixture
def small(clock):
    return MemoryStore(capacity=CAPACITY, nonces=CAPACITY, clock=clock)


@pytest.fixture(params=["take", "taker"])
def limit(request, small):
    """Makes what says whether one more of a key is let through: by the two ways to ask for a pace alone."""

    def asking(pace=PACE):
        if request.param == "take":
            return lambda key: small.take([Ask(key, pace)]).allowed
        take = small.taker(pace)
        return lambda key: take(key)[1] == 0

    return asking


def test_a_flood_of_keys_takes_bounded_room(small, limit):
    allowed = limit()
    for number in range(20 * CAPACITY):
        allowed(f"rate:one:{number}")

    assert len(small) <= CAPACITY + SHARED


def test_who_is_over_the_limit_stays_so_through_a_flood_of_keys(limit):
    allowed = limit()
    while allowed("rate:one:early"):
        pass
    for number in range(20 * CAPACITY):
        allowed(f"rate:one:{number}")
        assert not allowed("rate:one:early")


def test_who_comes_when_there_is_no_room_is_limited_too(limit):
    allowed = limit()
    for number in range(CAPACITY):
        allowed(f"rate:one:{number}")

    assert [allowed("rate:one:late") for _ in range(5)] == [True, True, True, False, False]


def test_a_rate_that_shared_a_place_takes_its_count_along_to_one_of_its_own(limit, clock):
    for number in range(CAPACITY):
        limit(Pace.of(1, 1, 1))(f"rate:one:{number}")
    slow = limit(Pace.of(2, 3600, 2))
    slow("rate:two:late")
    clock.forward(2)  # all others leave as they are looked at

    assert [slow("rate:two:late") for _ in range(3)] == [True, False, False]


def test_a_pace_that_was_over_begins_anew(limit, clock):
    allowed = limit()
    said = [allowed("rate:one:a") for _ in range(4)]
    clock.forward(180)

    assert said == [allowed("rate:one:a") for _ in range(4)] == [True, True, True, False]


def test_who_shared_a_place_takes_its_count_along_to_one_of_its_own(small, clock):
    for number in range(CAPACITY):
        small.take([Ask(f"rate:one:{number}", Pace.of(1, 1, 1))])
    slow = Ask("quota:one:late", Tally(2), 3600_000_000)
    small.take([slow])
    clock.forward(2)  # all others leave as they are looked at

    assert [small.take([slow]).allowed for _ in range(3)] == [True, False, False]


def test_limits_share_no_place(small):
    for number in range(CAPACITY):
        small.take([Ask(f"rate:one:{number}", PACE)])
    while small.take([Ask("rate:one:late", PACE)]).allowed:
        pass

    assert small.take([Ask("rate:other:late", PACE)]).allowed


def test_a_month_without_a_place_of_its_own_outlasts_a_day(small, clock):
    for number in range(CAPACITY):
        small.take([Ask(f"quota:filling:{number}", Tally(1), 30 * DAY)])
    month = Ask("quota:month:late", Tally(2), 30 * DAY)
    small.take([month, Ask("quota:day:late", Tally(2), DAY)])
    clock.forward(86_400)
    small.take([month._replace(lasts=29 * DAY), Ask("quota:day:late", Tally(2), DAY)])

    assert not small.take([month._replace(lasts=29 * DAY)]).allowed


def test_what_is_over_leaves_while_others_come(small, clock):
    for number in range(CAPACITY):
        small.take([Ask(f"rate:one:{number}", PACE)])
        small.once(f"nonce:{number}", 60)
    clock.forward(61)
    for number in range(CAPACITY // 2):
        small.take([Ask(f"rate:one:new {number}", PACE)])
        small.once("nonce:new", 60)

    assert len(small) == CAPACITY // 2 + 1


def test_room_that_was_left_is_used_again(small, limit, clock):
    allowed = limit()
    for number in range(3 * CAPACITY):  # each is over after three minutes: some 45 of them at a time
        clock.forward(4)
        assert [allowed(f"rate:one:{number}") for _ in range(4)] == [True, True, True, False]
        assert small.once(f"nonce:{number}", 60)

    assert len(small) < 2 * CAPACITY  # of two kinds


def test_a_nonce_without_room_is_refused_and_none_is_forgotten(small):
    for number in range(CAPACITY):
        small.once(f"nonce:{number}", 60)

    with pytest.raises(StoreUnavailable, match="no room for more than 200 nonces"):
        small.once("nonce:late", 60)
    assert not any(small.once(f"nonce:{number}", 60) for number in range(CAPACITY))


def test_the_value_that_was_not_asked_for_longest_leaves_first(small):
    for number in range(CAPACITY):
        small.put(f"cache:{number}", b"value", 60)
    small.get("cache:0")
    small.put("cache:new", b"value", 60)

    assert small.get("cache:0") == b"value"
    assert small.get("cache:1") is None
