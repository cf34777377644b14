"""What came out of a trial, for people and for programs."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from busgate.ops.faults import one_line
from busgate.ops.table import lines

State = Literal["passed", "failed", "skipped"]
_SIGNS = {"passed": "ok", "failed": "FAIL", "skipped": "-"}


@dataclass(frozen=True, slots=True)
class Verdict:
    """How one check ended, and why; or what is worth knowing where it passed."""

    name: str
    state: State
    why: str


@dataclass(frozen=True, slots=True)
class Report:
    """The verdicts on the worker of one topic. `service` is what it calls itself; empty where it never answered."""

    topic: str
    service: str
    verdicts: Sequence[Verdict]

    @property
    def conforms(self) -> bool:
        """Whether nothing failed."""
        return not self._count["failed"]

    def lines(self) -> Iterator[str]:
        """A table of all checks, and the sum of them."""
        yield from lines((_SIGNS[each.state], each.name, one_line(each.why)) for each in self.verdicts)
        count = self._count
        yield ""
        who = f"service {one_line(self.service)}" if self.service else "the worker"
        yield (
            f"{who} on {self.topic}: {count['passed']} passed, {count['failed']} failed, {count['skipped']} not tested"
        )

    def document(self) -> dict[str, Any]:
        """The same as JSON."""
        return {
            "topic": self.topic,
            "service": self.service,
            "conforms": self.conforms,
            "checks": [asdict(each) for each in self.verdicts],
        }

    @property
    def _count(self) -> Counter[str]:
        return Counter(each.state for each in self.verdicts)
