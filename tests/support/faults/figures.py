"""What was observed, for docs/reliability.md: written where BUSGATE_FIGURES says, if it does."""

import json
import os
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from .history import Answer

VARIABLE = "BUSGATE_FIGURES"


def observe(fault: str, **figures: Any) -> None:
    """Note the figures of a fault, as one line of JSON."""
    if path := os.environ.get(VARIABLE):
        with Path(path).open("a", encoding="utf-8") as file:
            file.write(json.dumps({"fault": fault, **figures}) + "\n")


def tally(answers: Iterable[Answer]) -> dict[str, int]:
    """How many answers of each kind."""
    names = (f"{answer.status} {answer.name}".strip() for answer in answers)
    return dict(Counter(names).most_common())


def slowest(answers: Iterable[Answer]) -> float:
    """The longest time to an answer, in milliseconds."""
    return round(max((answer.took for answer in answers), default=0.0) * 1000, 1)
