"""docs/reliability.md says of every kind of failure what the code says."""

from pathlib import Path

import pytest
from support.faults.history import KINDS

from busgate.contracts import FailureKind, failure

DOCUMENT = Path(__file__).parents[2] / "docs" / "reliability.md"


@pytest.mark.parametrize("kind", KINDS.values(), ids=lambda kind: kind.name)
def test_every_kind_of_failure_stands_in_the_truth_table(kind: FailureKind) -> None:
    lines = [line for line in DOCUMENT.read_text("utf-8").splitlines() if f"`{kind.name}`" in line]

    if kind in vars(failure).values():
        rows = [[cell.strip() for cell in line.split("|")] for line in lines if line.startswith("|")]
        row = next(row for row in rows if row[2] == f"`{kind.name}`")
        assert (row[3].split()[0], row[4]) == (str(kind.status), kind.outcome)
    else:
        assert any(f"{kind.status} `{kind.name}`" in line for line in lines)
