"""What repeats is told at once, then ever more rarely; an outage also when it ends."""

from itertools import pairwise
from typing import Any

import structlog
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from busgate.bus.repeats import FIRST, LONGEST, MOST_KINDS, STEADY, Outage, Pace, Repeats


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_a_thing_that_goes_on_is_told_at_growing_intervals_up_to_a_minute() -> None:
    pace = Pace()

    told = [second for second in range(300) if pace.due(second)]

    assert told == [0, 1, 3, 7, 15, 31, 63, 123, 183, 243]


def test_after_a_long_quiet_it_is_news_again() -> None:
    pace = Pace()
    for second in range(100):
        pace.due(second)

    assert [second for second in range(1000, 1010) if pace.due(second)] == [1000, 1001, 1003, 1007]


@given(st.lists(st.floats(0, 5), max_size=500))
def test_whatever_comes_the_lines_are_few(gaps: list[float]) -> None:
    pace, now, told = Pace(), 0.0, []
    for gap in gaps:
        now += gap
        if pace.due(now):
            told.append(now)

    pauses = [later - earlier for earlier, later in pairwise(told)]
    assert all(pause >= min(FIRST * 2**number, LONGEST) - 1e-6 for number, pause in enumerate(pauses))


def test_each_kind_is_counted_and_told_at_its_own_pace() -> None:
    clock = Clock()
    repeats = Repeats(clock=clock)

    first = [repeats.count("garbage") for _ in range(100)]
    other = repeats.count("forged")
    clock.now += 1

    assert first == [1] + [0] * 99
    assert other == 1
    assert repeats.count("garbage") == 101


def test_endless_kinds_are_not_endless_lines() -> None:
    repeats = Repeats()

    assert sum(bool(repeats.count(str(number))) for number in range(10 * MOST_KINDS)) == MOST_KINDS


# -- outages


def outage(clock: Clock) -> Outage:
    return Outage(structlog.stdlib.get_logger("test"), clock=clock)


def test_an_outage_is_told_when_it_begins_while_it_lasts_and_when_it_ends() -> None:
    clock = Clock()
    broker = outage(clock)

    with capture_logs() as logs:
        broker.begins("lost", error="reset")
        for _ in range(100):
            clock.now += 1
            broker.goes_on("away", error="refused")
        broker.ends("back")

    lines: list[Any] = [line["event"] for line in logs]
    assert lines == ["lost", *["away"] * 6, "back"]
    assert [line["tries"] for line in logs[1:-1]] == [1, 3, 7, 15, 31, 63]
    assert len({line["since"] for line in logs[1:-1]}) == 1
    assert logs[-1] == {"event": "back", "seconds_away": 100.0, "failed_tries": 100, "log_level": "warning"}


def test_what_never_was_away_is_not_told_to_be_back() -> None:
    with capture_logs() as logs:
        outage(Clock()).ends("back")

    assert logs == []


def test_an_outage_soon_after_a_long_one_is_told_at_once_all_the_same() -> None:
    clock = Clock()
    broker = outage(clock)

    with capture_logs() as logs:
        for _ in range(2):
            broker.begins("lost")
            for _ in range(600):
                clock.now += 1
                broker.goes_on("away")
            assert broker.ends("back")
            clock.now += STEADY + 1

    half = len(logs) // 2
    assert [line["event"] for line in logs[:half]] == [line["event"] for line in logs[half:]]
    assert logs[half]["event"] == "lost"


def test_a_link_that_comes_and_goes_all_the_time_is_told_ever_more_rarely() -> None:
    clock = Clock()
    broker = outage(clock)

    with capture_logs() as logs:
        for _ in range(120):
            clock.now += 1
            broker.begins("lost")
            broker.ends("back")

    assert [line["event"] for line in logs] == ["lost", "back"] * 7
