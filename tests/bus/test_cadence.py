"""When a process speaks: every five seconds or so, and at most once a second for all who ask."""

from random import Random

from hypothesis import given
from hypothesis import strategies as st

from busgate.bus.cadence import ANSWER_EVERY, ANSWER_WITHIN, Cadence
from busgate.bus.presence import PRESENCE_EVERY


def speaking(cadence: Cadence, questions: list[float], *, until: float) -> list[float]:
    """The times at which a process speaks that is asked at these times."""
    spoken: list[float] = []
    for asked in [*sorted(questions), until]:
        while cadence.next < asked:
            spoken.append(max(cadence.next, 0.0))
            cadence.speaks(spoken[-1])
        cadence.asked(asked)
    return spoken


def test_nobody_asks_and_it_speaks_now_and_then() -> None:
    assert speaking(Cadence(lambda: 0.5), [], until=21) == [0, 5, 10, 15, 20]


def test_a_question_is_answered_within_a_fifth_of_a_second() -> None:
    assert speaking(Cadence(lambda: 1.0), [2.0], until=5) == [0, 2.0 + ANSWER_WITHIN]


def test_a_second_question_waits_for_the_second_to_pass() -> None:
    assert speaking(Cadence(lambda: 0.0), [2.0, 2.1, 2.2, 2.9], until=4) == [0, 2.0, 3.0]


def test_what_is_new_is_said_at_once() -> None:
    cadence = Cadence()
    cadence.speaks(0.0)

    cadence.changed(1.0)

    assert cadence.next == 1.0


@given(st.lists(st.floats(0, 60), max_size=300), st.randoms(use_true_random=False))
def test_however_many_ask_each_is_answered_soon_and_all_of_them_once_a_second(
    questions: list[float], chance: Random
) -> None:
    spoken = speaking(Cadence(chance.random), questions, until=70)

    longest = ANSWER_EVERY + ANSWER_WITHIN + 1e-6
    assert all(any(asked <= said <= asked + longest for said in spoken) for asked in questions)
    assert len(spoken) <= 70 / ANSWER_EVERY + 70 / (0.9 * PRESENCE_EVERY) + 2
