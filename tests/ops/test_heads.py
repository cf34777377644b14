"""The oldest call of a queue counts as stuck only where two snapshots of RabbitMQ show the same one."""

from busgate.ops.heads import Heads


def test_one_snapshot_is_not_enough() -> None:
    heads = Heads()

    looks = [heads.stays("shop.a.v1", 100, now) for now in (0.0, 2.0, 4.0)]

    assert looks == [False, False, False]


def test_the_same_call_in_two_snapshots_stays() -> None:
    heads = Heads()

    looks = [heads.stays("shop.a.v1", 100, now) for now in (0.0, 4.0, 6.0)]

    assert looks == [False, False, True]


def test_another_call_begins_anew_and_none_forgets() -> None:
    heads = Heads()
    seen = [(100, 0.0), (101, 6.0), (101, 11.0), (None, 12.0), (101, 20.0)]

    looks = [heads.stays("shop.a.v1", sent, now) for sent, now in seen]

    assert looks == [False] * 5


def test_queues_are_apart() -> None:
    heads = Heads()
    heads.stays("shop.a.v1", 100, 0.0)

    stays = heads.stays("shop.b.v1", 100, 6.0)

    assert not stays
