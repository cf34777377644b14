"""A flood of one caller costs the store little, and nobody is refused longer than the store said."""

from busgate.edge.metering.refused import CAPACITY, Refused

SECOND = 1_000_000


def test_a_refusal_is_remembered_until_the_store_might_let_through():
    now = [100.0]
    refused = Refused(lambda: now[0])
    refused.note("rate:a", now[0], SECOND // 2)
    waits = []
    for _ in range(3):
        waits.append(refused.wait("rate:a"))
        now[0] += 0.25

    assert waits == [SECOND // 2, SECOND // 4, 0]
    assert refused.wait("rate:b") == 0


def test_a_long_refusal_is_asked_about_again_each_second():
    now = [100.0]
    refused = Refused(lambda: now[0])
    refused.note("quota:a", now[0], 86_400 * SECOND)
    now[0] += 0.5
    before = refused.wait("quota:a")
    now[0] += 0.5

    assert (before, refused.wait("quota:a")) == (86_399_500_000, 0)


def test_a_flood_of_keys_takes_bounded_room():
    refused = Refused(lambda: 100.0)
    for number in range(3 * CAPACITY):
        refused.note(f"rate:{number}", 100.0, SECOND)

    assert len(refused) == CAPACITY
    assert refused.wait(f"rate:{3 * CAPACITY - 1}") == SECOND
