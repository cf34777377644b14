"""Admission against simulated workers: a queue, so many handlers, calls that come at random, a clock that is driven."""

import heapq
import random
from collections import deque

import pytest

from busgate.bus.admission import BURST, Admission
from busgate.bus.wire import MARGIN_MS
from busgate.contracts import CallFailed

BUDGET = 5.0


class Phase:
    """What became of the calls of one phase."""

    def __init__(self) -> None:
        self.offered = self.refused = self.answered = self.late = 0
        self.hints: list[float] = []


class Call:
    def __init__(self, sent: float, phase: Phase) -> None:
        self.sent = sent
        self.phase = phase
        self.ended = False


class Simulation:
    """One topic: `handlers` at once, each runs about `ran` seconds. Calls come as a Poisson process."""

    def __init__(self, *, handlers: int, ran: float) -> None:
        self.admission = Admission(BUDGET)
        self.capacity = handlers / ran
        self._ran, self._free = ran, handlers
        self._random = random.Random(1)
        self._now = 100.0
        self._queue: deque[Call] = deque()
        self._events: list[tuple[float, int, Call, float]] = []
        """When, a number that keeps order, whose, and how long its handler ran; 0 for the end of its budget."""
        self._numbers = 0

    def run(self, *, load: float, seconds: float = 20.0) -> Phase:
        """Offer `load` times what the workers can do, and wait until the last of it has ended."""
        phase = self.offer(load=load, seconds=seconds)
        self._go_on(self._now + BUDGET)
        return phase

    def offer(self, *, load: float, seconds: float) -> Phase:
        phase = Phase()
        end, arrival = self._now + seconds, self._now
        while (arrival := arrival + self._random.expovariate(load * self.capacity)) < end:
            self._go_on(arrival)
            self._arrive(phase)
        self._go_on(end)
        return phase

    def _arrive(self, phase: Phase) -> None:
        phase.offered += 1
        try:
            self.admission.admit(self._now)
        except CallFailed as failed:
            phase.refused += 1
            phase.hints.append(failed.retry_after or 0.0)
            return
        self.admission.waiting += 1
        call = Call(self._now, phase)
        self._at(self._now + BUDGET, call, 0.0)
        self._queue.append(call)
        self._start()

    def _start(self) -> None:
        while self._free and self._queue:
            call = self._queue.popleft()
            if self._now <= call.sent + BUDGET - MARGIN_MS / 1000:  # else broker and worker drop it
                self._free -= 1
                ran = self._random.uniform(0.5, 1.5) * self._ran
                self._at(self._now + ran, call, ran)

    def _at(self, when: float, call: Call, ran: float) -> None:
        self._numbers += 1
        heapq.heappush(self._events, (when, self._numbers, call, ran))

    def _go_on(self, end: float) -> None:
        while self._events and self._events[0][0] <= end:
            self._now, _, call, ran = heapq.heappop(self._events)
            if ran:
                self._free += 1
                self._start()
            if not call.ended:
                call.ended = True
                self._end(call, ran)
        self._now = end

    def _end(self, call: Call, ran: float) -> None:
        self.admission.waiting -= 1
        if ran:
            call.phase.answered += 1
            self.admission.replied(self._now, self._now - call.sent - ran, ran)
        else:
            call.phase.late += 1


topics = pytest.mark.parametrize(
    ("handlers", "ran"),
    [(32, 0.05), (8, 0.1), (4, 0.2), (32, 2.0), (2, 1.0), (1, 0.5)],
    ids=["640/s", "80/s", "20/s", "16/s of 2 s each", "2/s", "2/s, one at a time"],
)


@topics
def test_below_capacity_nothing_is_refused_or_late(handlers: int, ran: float) -> None:
    phase = Simulation(handlers=handlers, ran=ran).run(load=0.5, seconds=40)

    assert (phase.refused, phase.late) == (0, 0)
    assert phase.answered == phase.offered


@topics
@pytest.mark.parametrize("load", [2, 10])
def test_under_overload_who_is_let_in_is_answered_and_the_workers_stay_busy(
    handlers: int, ran: float, load: int
) -> None:
    simulation = Simulation(handlers=handlers, ran=ran)
    simulation.offer(load=load, seconds=BUDGET)  # until the queue is seen

    phase = simulation.run(load=load)

    possible = simulation.capacity * 20
    assert phase.refused > 0.4 * phase.offered
    assert phase.answered > 0.7 * possible
    assert phase.late <= max(0.12 * phase.answered, 5)
    assert all(hint >= 1 for hint in phase.hints)


@topics
def test_after_an_overload_everything_is_let_in_again(handlers: int, ran: float) -> None:
    simulation = Simulation(handlers=handlers, ran=ran)
    simulation.run(load=10, seconds=10)

    simulation.offer(load=0.5, seconds=BUDGET)
    phase = simulation.run(load=0.5)

    assert (phase.refused, phase.late) == (0, 0)


def test_a_fast_topic_takes_a_burst_without_refusing() -> None:
    simulation = Simulation(handlers=32, ran=0.003)
    simulation.run(load=0.3, seconds=2)

    phase = simulation.run(load=20, seconds=0.005)

    assert phase.offered > 500
    assert (phase.refused, phase.late) == (0, 0)


def test_without_any_reply_calls_are_let_in_again_after_a_budget() -> None:
    """Nothing is known of workers that were silent that long."""
    admission = Admission(BUDGET)
    now = 100.0
    for _ in range(20):
        now += 0.1
        admission.replied(now, 4.0, 0.01)
    admission.waiting = max(int(admission.limit), BURST) + 1
    with pytest.raises(CallFailed, match="overloaded"):
        admission.admit(now)

    admission.admit(now + 2 * BUDGET)


def test_a_few_may_always_wait() -> None:
    admission = Admission(BUDGET)
    now = 100.0
    for _ in range(20):
        now += 0.9
        admission.replied(now, 4.9, 0.01)
    assert admission.limit < BURST

    admission.waiting = BURST - 1

    admission.admit(now)
