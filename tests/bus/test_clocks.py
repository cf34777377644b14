"""Clocks of others: only what is far off counts, and only when a few presences in a row say so."""

from hypothesis import given
from hypothesis import strategies as st

from busgate.bus.clocks import JOURNEYS, TOLERANCE_MS, Clocks


def hear(clocks: Clocks, *ours_ahead_ms: int, who: str = "edge") -> list[bool]:
    return [clocks.heard(who, theirs_ms=1_000_000, ours_ms=1_000_000 + ahead) for ahead in ours_ahead_ms]


def test_clocks_that_agree_are_left_alone() -> None:
    clocks = Clocks()

    assert hear(clocks, 0, TOLERANCE_MS, -TOLERANCE_MS, 30) == [False] * 4
    assert clocks.ahead == {}


def test_a_clock_that_is_far_off_is_news_once_several_presences_say_so() -> None:
    clocks = Clocks()

    assert hear(clocks, *[3_600_000] * JOURNEYS, 3_600_010) == [False] * (JOURNEYS - 1) + [True, False]
    assert clocks.ahead == {"edge": 3600.0}
    hear(clocks, *[-3_600_000] * JOURNEYS, who="other")
    assert clocks.ahead["other"] == -3600.0


@given(st.lists(st.integers(-(2**53), 2**53), max_size=JOURNEYS - 1))
def test_less_than_several_presences_change_nothing(odd: list[int]) -> None:
    """Forged, or of a process that read its clock wrong once."""
    clocks = Clocks()
    hear(clocks, *[0] * JOURNEYS)

    hear(clocks, *odd)

    assert clocks.ahead == {}


def test_a_clock_beyond_all_reason_is_no_clock() -> None:
    clocks = Clocks()

    hear(clocks, *[-(2**53)] * JOURNEYS)

    assert clocks.ahead == {}


@given(st.integers(-(10**7), 10**7), st.lists(st.integers(0, TOLERANCE_MS), min_size=JOURNEYS, max_size=JOURNEYS))
def test_a_slow_journey_is_not_taken_for_a_wrong_clock(difference: int, delays: list[int]) -> None:
    clocks = Clocks()
    journeys = [difference + delay for delay in delays]

    hear(clocks, *journeys)

    agreed = min(journeys) > TOLERANCE_MS or max(journeys) < -TOLERANCE_MS
    assert clocks.ahead == ({"edge": min(journeys, key=abs) / 1000} if agreed else {})


@given(st.integers(1, 60), st.integers(0, 4_999))
def test_presences_that_waited_for_the_end_of_an_alarm_say_nothing_of_a_clock(waiting: int, since_last: int) -> None:
    """Sent every five seconds, heard at once: each waited five seconds less than the one before it."""
    clocks = Clocks()
    burst = [since_last + 5_000 * number for number in reversed(range(waiting))]

    news = hear(clocks, *burst, *[0] * JOURNEYS)

    assert not any(news)
    assert clocks.ahead == {}


def test_a_clock_that_is_wrong_stays_known_when_a_presence_is_late() -> None:
    clocks = Clocks()
    hear(clocks, *[10_000] * JOURNEYS)

    news = hear(clocks, 15_000, 12_000, 10_000)

    assert news == [False] * 3
    assert clocks.ahead == {"edge": 10.0}


def test_a_clock_that_was_set_right_is_believed_again() -> None:
    clocks = Clocks()
    hear(clocks, *[10_000] * JOURNEYS)

    hear(clocks, 0)

    assert clocks.ahead == {}


def test_who_is_gone_is_forgotten() -> None:
    clocks = Clocks()
    hear(clocks, *[10_000] * JOURNEYS)

    clocks.forget("edge")
    clocks.forget("never heard of")

    assert clocks.ahead == {}
    assert hear(clocks, *[10_000] * JOURNEYS)[-1]
