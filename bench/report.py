"""Tables: rows of figures, shown as Markdown, which reads well as it is."""

from collections.abc import Iterator
from dataclasses import dataclass, field

Row = dict[str, str | float | int | None]


@dataclass(slots=True)
class Table:
    """Figures of one thing. All rows have the keys of the first, which are the columns."""

    title: str
    rows: list[Row] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def lines(self) -> Iterator[str]:
        yield f"### {self.title}"
        yield ""
        if self.rows:
            yield from _table([[str(key) for key in self.rows[0]], *(_cells(row) for row in self.rows)])
        for note in self.notes:
            yield ""
            yield note
        yield ""


def _table(cells: list[list[str]]) -> Iterator[str]:
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    head, *rows = (_line(row, widths) for row in cells)
    yield head
    yield "|" + "|".join("-" * (width + 1) + (":" if n else "-") for n, width in enumerate(widths)) + "|"
    yield from rows


def _line(row: list[str], widths: list[int]) -> str:
    first, *others = zip(row, widths, strict=True)
    return "| " + " | ".join([first[0].ljust(first[1]), *(cell.rjust(width) for cell, width in others)]) + " |"


def _cells(row: Row) -> list[str]:
    return [_text(value) for value in row.values()]


def _text(value: str | float | None) -> str:
    match value:
        case None:
            return "-"
        case str():
            return value
        case int():
            return f"{value:,}"
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"
