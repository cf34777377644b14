"""What a person watches: tables that fit the terminal, colours only there, drawn again where that is asked for."""

import asyncio
import os
import shutil
import sys
import textwrap
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence

from busgate.bus import BusError

from .logs import printable
from .table import lines

RED, YELLOW, GREEN, DIM, PLAIN = "\x1b[31m", "\x1b[33m", "\x1b[32m", "\x1b[2m", "\x1b[0m"
_HOME_AND_CLEAR = "\x1b[H\x1b[2J"
WATCH_EVERY = 2.0


def coloured() -> bool:
    """Whether colours make sense: on a terminal, unless somebody said no (no-color.org)."""
    return sys.stdout.isatty() and "NO_COLOR" not in os.environ


def width() -> int | None:
    """Columns of the terminal; None where nobody watches and lines may be of any length."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None


def table(head: Sequence[str], rows: Iterable[Sequence[str]], *, spare: Sequence[str] = ()) -> list[str]:
    """A table with a head, cut to the terminal. What others sent is made harmless.

    `spare` names columns that leave, the first of them first, while the terminal is too narrow for all.
    """
    cells = [list(head), *([printable(cell) for cell in row] for row in rows)]
    columns = width()
    for name in spare:
        if columns is None or max(map(len, lines(cells, indent=""))) <= columns:
            break
        leaves = cells[0].index(name)
        cells = [row[:leaves] + row[leaves + 1 :] for row in cells]
    return [fit(line) for line in lines(cells, indent="")]


def fit(line: str) -> str:
    """A line that does not break on the terminal."""
    columns = width()
    return line if columns is None or len(line) <= columns else line[: columns - 1] + "…"


def wrapped(line: str) -> list[str]:
    """A sentence, over as many lines as it takes on the terminal. What others sent is made harmless."""
    columns = width()
    line = printable(line)
    return [line] if columns is None else textwrap.wrap(line, columns, subsequent_indent="  ")


def paint(line: str, colour: str) -> str:
    return f"{colour}{line}{PLAIN}" if colour and coloured() else line


def span(seconds: float) -> str:
    """A length of time in two words at most: `42s`, `3m 10s`, `2h 05m`, `4d 3h`."""
    whole = int(max(seconds, 0))
    if whole < 60:
        return f"{whole}s"
    if whole < 3600:
        return f"{whole // 60}m {whole % 60:02}s"
    if whole < 86_400:
        return f"{whole // 3600}h {whole % 3600 // 60:02}m"
    return f"{whole // 86_400}d {whole % 86_400 // 3600}h"


async def show(draw: Callable[[], Awaitable[tuple[list[str], int]]], *, watch: bool) -> int:
    """Print what `draw` gives, once, or again and again until Ctrl-C; the exit code that it gives with it.

    Raises:
        BusError: the broker cannot be used; in a watch, not at the first look: later it says so, and tries again.
    """
    text, code = await draw()
    print((_begin() if watch else "") + "\n".join(text), flush=True)
    without = ""
    while watch:
        await asyncio.sleep(WATCH_EVERY)
        try:
            text, code = await draw()
        except BusError as error:
            if not without or sys.stdout.isatty():
                without = without or time.strftime("%H:%M:%S")
                _say(f"no broker since {without}, trying again: {error}")
        else:
            without = ""
            print(_begin() + "\n".join(text), flush=True)
    return code


def _begin() -> str:
    """What is above a look of a watch: on a terminal the time, and nothing of the look before."""
    return _clear() + paint(f"at {time.strftime('%H:%M:%S')}", DIM) + "\n" if sys.stdout.isatty() else ""


def _say(line: str) -> None:
    """Tell a person, and leave what a program reads alone."""
    if sys.stdout.isatty():
        print(_clear() + fit(line), flush=True)
    else:
        print(f"busgate: {line}", file=sys.stderr, flush=True)


def _clear() -> str:
    return _HOME_AND_CLEAR if sys.stdout.isatty() else ""
