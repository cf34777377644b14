"""A pace holds in every window, whatever the times of the requests."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from busgate.edge.stores.rules import NOTHING, Pace

paces = st.integers(1, 40).flatmap(
    lambda count: st.tuples(st.just(count), st.integers(1, count), st.sampled_from([0.5, 1.0, 7.0, 60.0]))
)


@given(paces, st.lists(st.integers(0, 3_000_000), max_size=120))
def test_no_window_lets_more_than_the_count_through(numbers, gaps):
    count, burst, window = numbers
    pace = Pace.of(count, window, burst)
    let_through, now, spent = [], 10**15, NOTHING
    for gap in gaps:
        now += gap
        counted, (_, wait, _) = pace.weigh(spent, now, 0)
        if not wait:
            spent = counted
            let_through.append(now)

    for at, start in enumerate(let_through):
        assert sum(start <= time < start + window * 1_000_000 for time in let_through[at:]) <= count


@given(paces, st.lists(st.integers(0, 3_000_000), min_size=1, max_size=60))
def test_who_waits_as_long_as_told_is_let_through_and_not_a_microsecond_before(numbers, gaps):
    count, burst, window = numbers
    pace = Pace.of(count, window, burst)
    now, spent = 10**15, NOTHING
    for gap in gaps:
        now += gap
        spent, (_, wait, _) = pace.weigh(spent, now, 0)
        if wait:
            _, (_, too_early, _) = pace.weigh(spent, now + wait - 1, 0)
            _, (_, in_time, _) = pace.weigh(spent, now + wait, 0)
            assert (too_early, in_time) == (1, 0)


@given(paces)
def test_what_is_left_is_what_is_let_through_at_once(numbers):
    count, burst, window = numbers
    pace = Pace.of(count, window, burst)
    spent, (left, wait, _) = pace.weigh(NOTHING, 10**15, 0)
    told = []
    while not wait:
        told.append(left)
        spent, (left, wait, _) = pace.weigh(spent, 10**15, 0)

    assert told == list(reversed(range(burst)))


@pytest.mark.parametrize("back", [3600, 10 * 365 * 86400])
def test_a_clock_put_back_costs_one_burst_and_no_more(back):
    pace = Pace.of(10, 60, 5)
    spent, _ = pace.weigh(NOTHING, 10**15, 0)

    now = 10**15 - back * 1_000_000
    spent, (at_first, _, _) = pace.weigh(spent, now, 0)
    _, (later, wait, _) = pace.weigh(spent, now + pace.span, 0)
    assert (at_first, wait, later) == (0, 0, 4)
