"""On which line of a TOML text a key stands: tomllib does not say.

Good enough for messages to people. A key inside an inline table or a long list is found at the line where
that begins.
"""

import re

Path = tuple[str | int, ...]

_NAME = r"""(?:[A-Za-z0-9_-]+|"[^"]*"|'[^']*')"""
_DOTTED = rf"{_NAME}(?:\s*\.\s*{_NAME})*"
_HEADER = re.compile(rf"\s*(\[\[?)\s*({_DOTTED})\s*\]\]?\s*(#.*)?$")
_KEY = re.compile(rf"\s*({_DOTTED})\s*=")


def key_lines(text: str) -> dict[Path, int]:
    """The line, from 1, of each table and of each key that begins a line. Items of lists have an index."""
    lines: dict[Path, int] = {(): 1}
    counts: dict[Path, int] = {}
    table: Path = ()
    quoted = False
    for number, line in enumerate(text.splitlines(), 1):
        if not quoted:
            if header := _HEADER.match(line):
                table = _table(header, counts)
                lines.setdefault(table, number)
            elif key := _KEY.match(line):
                lines.setdefault(table + _names(key[1]), number)
        quoted ^= (line.count('"""') + line.count("'''")) % 2 == 1
    return lines


def line_of(lines: dict[Path, int], path: Path) -> int:
    """The line of the deepest part of a path that has one."""
    while path not in lines:
        path = path[:-1]
    return lines[path]


def _table(header: re.Match[str], counts: dict[Path, int]) -> Path:
    *outer, last = _names(header[2])
    table: Path = ()
    for name in outer:
        table = (*table, name)
        if table in counts:
            table = (*table, counts[table])
    table = (*table, last)
    if header[1] == "[[":
        counts[table] = counts.get(table, -1) + 1
        table = (*table, counts[table])
    return table


def _names(text: str) -> Path:
    return tuple(name.strip("\"'") for name in re.findall(_NAME, text))
