"""What every store does, whatever it is made of."""

from support.stores import told

from busgate.edge.stores.rules import Ask, Pace, Tally

THREE_A_MINUTE = Pace.of(3, 60, 3)
DAY = 86_400_000_000


async def take(store, *asks):
    return await told(store.take(asks))


async def test_a_pace_lets_its_burst_through_and_then_one_after_another(store, clock):
    ask = Ask("rate:one:a", Pace.of(4, 60, 2))  # two, then one each 20 s

    burst = [(await take(store, ask)).allowed for _ in range(3)]
    clock.forward(20)
    later = [(await take(store, ask)).allowed for _ in range(2)]
    assert (burst, later) == ([True, True, False], [True, False])


async def test_a_verdict_says_what_is_left_and_for_how_long(store, clock):
    ask = Ask("rate:one:a", Pace.of(4, 60, 2))

    standings = [(await take(store, ask)).standings[0] for _ in range(3)]
    assert standings == [(1, 0, 20_000_000), (0, 0, 40_000_000), (0, 20_000_000, 40_000_000)]


async def test_keys_do_not_share_what_they_have(store):
    await take(store, Ask("rate:one:a", Pace.of(1, 60, 1)))

    assert (await take(store, Ask("rate:one:b", Pace.of(1, 60, 1)))).allowed


async def test_a_tally_counts_to_its_limit_until_its_end(store, clock):
    first = [(await take(store, Ask("quota:one:a", Tally(2), DAY))).allowed for _ in range(3)]
    clock.forward(86_399)
    second = (await take(store, Ask("quota:one:a", Tally(2), 1_000_000))).allowed
    clock.forward(1)
    third = (await take(store, Ask("quota:one:a", Tally(2), DAY))).allowed

    assert (first, second, third) == ([True, True, False], False, True)


async def test_a_tally_says_what_is_left_of_it(store):
    standings = [(await take(store, Ask("quota:one:a", Tally(2), DAY))).standings[0] for _ in range(3)]

    assert standings == [(1, 0, DAY), (0, 0, DAY), (0, DAY, DAY)]


async def test_what_one_rule_refuses_no_other_counts(store):
    wide, narrow = Ask("quota:one:a", Tally(3), DAY), Ask("rate:one:a", Pace.of(1, 60, 1))

    verdicts = [await take(store, wide, narrow) for _ in range(9)]
    assert [verdict.allowed for verdict in verdicts] == [True] + 8 * [False]
    assert verdicts[-1].standings == [(2, 0, DAY), (0, 60_000_000, 60_000_000)]


async def test_each_refusing_rule_says_how_long(store):
    asks = Ask("rate:one:a", Pace.of(1, 60, 1)), Ask("rate:one:b", Pace.of(1, 5, 1))
    await take(store, *asks)

    verdict = await take(store, *asks)
    assert [wait for _, wait, _ in verdict.standings] == [60_000_000, 5_000_000]


async def test_nothing_asked_is_let_through(store):
    assert await take(store) == (True, [])


async def test_only_the_first_says_it_once(store, clock):
    said = [await told(store.once("nonce:a", 300)) for _ in range(3)]

    assert said == [True, False, False]
    assert await told(store.once("nonce:b", 300))


async def test_once_lasts_its_time_and_saying_it_again_does_not_lengthen_it(store, clock):
    await told(store.once("nonce:a", 300))
    clock.forward(299)
    before = await told(store.once("nonce:a", 300))
    clock.forward(1)

    assert (before, await told(store.once("nonce:a", 300))) == (False, True)


async def test_a_value_is_kept_for_its_time(store, clock):
    await told(store.put("cache:a", b"\x00value\xff", 60))
    clock.forward(59.9)
    before = await told(store.get("cache:a"))
    clock.forward(0.1)

    assert (before, await told(store.get("cache:a"))) == (b"\x00value\xff", None)


async def test_the_last_value_counts_with_its_own_time(store, clock):
    await told(store.put("cache:a", b"first", 60))
    await told(store.put("cache:a", b"", 10))
    now = await told(store.get("cache:a"))
    clock.forward(10)

    assert (now, await told(store.get("cache:a"))) == (b"", None)


async def test_what_nobody_put_is_nothing(store):
    assert await told(store.get("cache:a")) is None


async def test_keys_may_hold_what_texts_hold(store):
    for key in (
        "rate:",
        "rate:\x00",
        "rate:ä€😀",
        "rate:a'\";--",
        "rate:\ud800",
        "rate:\udc80",
        "rate:" + "x" * 10_000,
    ):
        verdicts = [await take(store, Ask(key, THREE_A_MINUTE)) for _ in range(4)]

        assert [verdict.allowed for verdict in verdicts] == [True, True, True, False]
