"""Metrics of a worker: what its handlers answered, how long they ran, what runs and what is stuck; and its bus."""

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

from busgate.bus import Bus
from busgate.bus.exposition import family, histograms, labels, one
from busgate.bus.metrics import of_bus, of_endpoints

from .execution import Execution

if TYPE_CHECKING:
    from .trust import Trust


class WorkerMetrics:
    """Everything that one worker process counts. Read only when somebody looks.

    Args:
        bus: where its calls come from.
        executions: its handlers at work.
        trust: the keys by which it verifies who calls, where it does.
    """

    def __init__(self, bus: Bus, executions: Sequence[Execution], trust: "Trust | None" = None) -> None:
        self._bus = bus
        self._executions = executions
        self._trust = trust

    def readiness(self) -> list[str]:
        """Why this worker takes no calls now; empty when it does."""
        trust = None if self._trust is None else self._trust.unready
        reasons = [self._bus.unready, trust, "draining" if self._bus.consumers.draining else None]
        return [reason for reason in reasons if reason]

    def render(self) -> Iterator[str]:
        """All metrics now, in pieces: other work may be done in between."""
        yield from self._of_handlers()
        yield from self._of_trust()
        yield from one("worker_draining", "1 while this process ends.", int(self._bus.consumers.draining))
        yield from of_endpoints(self._bus.requester.endpoints)
        yield from of_bus(self._bus)

    def _of_handlers(self) -> Iterator[str]:
        answers = (
            (labels(topic=each.topic, failure=failure), count)
            for each in self._executions
            for failure, count in list(each.answers.items())
        )
        durations = {each.topic: each.ran for each in self._executions}
        yield from family("worker_answers_total", "Calls answered, by topic and failure (empty: a reply).", answers)
        yield from histograms(
            "worker_run_duration_seconds", "From the delivery of a call to its answer, by topic.", durations
        )
        yield from self._each("worker_running", "Handlers that run, by topic.", lambda it: it.watch.running)
        yield from self._each("worker_prefetch", "Calls taken at a time, by topic.", lambda it: it.handler.prefetch)
        yield from self._each("worker_stuck", "Handlers that nothing can end, by topic.", lambda it: it.watch.stuck)
        yield from self._each(
            "worker_stuck_total", "Handlers that were found to be stuck, by topic.", lambda it: it.watch.stuck_total
        )

    def _of_trust(self) -> Iterator[str]:
        refused = (
            (labels(topic=each.topic, reason=reason), count)
            for each in self._executions
            if each.gate is not None
            for reason, count in list(each.gate.reasons.items())
        )
        text = "Calls refused because nothing proves who calls, by topic and reason."
        yield from family("worker_unverified_total", text, refused)
        keys, looks, failures = 0, 0, 0
        if self._trust is not None:
            keys, looks, failures = len(self._trust.verifier.kids), self._trust.looks, self._trust.failures
        yield from one("worker_trusted_keys", "Keys of the edge that are believed.", keys)
        yield from one("worker_trust_looks_total", "Looks for the keys of the edge.", looks)
        yield from one("worker_trust_failures_total", "Looks for the keys of the edge that gave none.", failures)

    def _each(self, name: str, text: str, value: Callable[[Execution], int]) -> Iterator[str]:
        return family(name, text, ((labels(topic=each.topic), value(each)) for each in self._executions))
