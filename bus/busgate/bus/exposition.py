"""Metrics in the text format of Prometheus 0.0.4: how families, labels and histograms are written.

What stands in labels comes from contracts and from fixed lists, never from a client.
"""

import math
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping
from itertools import accumulate

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
"""Upper bounds in seconds."""

Samples = Iterable[tuple[str, float]]
"""Labels as they are written, and a value."""

_BOUNDS_MS = tuple(bound * 1000 for bound in BUCKETS)
_LE = (*(f"{bound:g}" for bound in BUCKETS), "+Inf")
_SPECIAL = str.maketrans({"\\": "\\\\", '"': '\\"', "\n": "\\n"})


class Histogram:
    """How often a duration fell between two bounds."""

    __slots__ = ("counts", "sum_ms")

    def __init__(self) -> None:
        self.counts = [0] * len(_LE)
        self.sum_ms = 0.0

    def observe(self, millis: float) -> None:
        """Count one duration; the wait of a skewed clock may be below 0."""
        self.counts[bisect_left(_BOUNDS_MS, millis)] += 1
        self.sum_ms += max(millis, 0.0)


def labels(**values: object) -> str:
    return ",".join(f'{name}="{str(value).translate(_SPECIAL)}"' for name, value in values.items())


def one(name: str, text: str, value: float) -> Iterator[str]:
    """A family of one sample without labels."""
    return family(name, text, [("", value)])


def family(name: str, text: str, samples: Samples) -> Iterator[str]:
    """A counter where the name ends in `_total`, else a gauge. Every name is written with `busgate_` before it."""
    kind = "counter" if name.endswith("_total") else "gauge"
    yield f"# HELP busgate_{name} {text}\n# TYPE busgate_{name} {kind}\n"
    for pairs, value in samples:
        yield f"busgate_{name}{{{pairs}}} {_number(value)}\n"


def histograms(name: str, text: str, topics: Mapping[str, Histogram]) -> Iterator[str]:
    """One histogram for each topic."""
    yield f"# HELP busgate_{name} {text}\n# TYPE busgate_{name} histogram\n"
    for topic, histogram in list(topics.items()):
        pairs = labels(topic=topic)
        totals = list(accumulate(histogram.counts))
        buckets = "".join(
            f'busgate_{name}_bucket{{{pairs},le="{bound}"}} {total}\n' for bound, total in zip(_LE, totals, strict=True)
        )
        yield (
            f"{buckets}busgate_{name}_sum{{{pairs}}} {histogram.sum_ms / 1000!r}\n"
            f"busgate_{name}_count{{{pairs}}} {totals[-1]}\n"
        )


def _number(value: float) -> str:
    return "+Inf" if value == math.inf else repr(value)
