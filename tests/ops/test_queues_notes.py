"""What `busgate queues` says stands out: each fault once, and nothing that an old snapshot of the broker only seems to show."""

import pytest

from busgate.ops.commands.queues import Look, Row, stands_out
from busgate.ops.holders import Holder


def row(topic: str = "shop.a.v1", *, oldest: float | None = None, running: int = 1, stays: bool = False) -> Row:
    return Row(topic, running=running, consumers=1, oldest=oldest, answering=1, timeout=2.0, stays=stays)


@pytest.mark.parametrize(
    ("oldest", "running", "stays"),
    [(7.9, 1, True), (13.9, 1, False), (60.0, 0, False), (None, 1, False)],
    ids=["not late enough", "one snapshot", "nothing runs", "nothing there"],
)
def test_a_call_that_only_looks_old_does_not_stand_out(oldest: float | None, running: int, stays: bool) -> None:
    assert stands_out(Look([row(oldest=oldest, running=running, stays=stays)])) == []


@pytest.mark.parametrize(
    ("oldest", "running", "stays"),
    [(8.1, 1, True), (8.1, 0, True), (14.1, 1, False)],
    ids=["in two snapshots", "nobody took it", "far too late"],
)
def test_a_call_that_is_too_old_stands_out(oldest: float, running: int, stays: bool) -> None:
    (note,) = stands_out(Look([row(oldest=oldest, running=running, stays=stays)]))

    assert "and its contract gives it 2 s" in note


def test_a_process_that_does_not_answer_is_named_once_for_all_its_queues() -> None:
    topics = [f"shop.t{number}.v1" for number in range(7)]
    hung = [Holder(topic, "shop-1", "far", 9, "10.0.0.1:5") for topic in topics]

    (note,) = stands_out(Look([row(topic) for topic in topics], hung))

    assert note.startswith("shop-1, pid 9 on far (10.0.0.1:5), gets calls of shop.t0.v1, ")
    assert " and 2 more from the broker" in note


def test_while_the_bus_itself_is_at_fault_no_call_is_blamed() -> None:
    assert stands_out(Look([row(oldest=60)], bus="the bus")) == ["the bus"]
