"""Plain tables for a terminal."""

from collections.abc import Iterable, Iterator, Sequence


def lines(rows: Iterable[Sequence[str]], *, indent: str = "  ") -> Iterator[str]:
    """Rows with their columns aligned, two spaces apart."""
    rows = list(rows)
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        yield indent + "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
