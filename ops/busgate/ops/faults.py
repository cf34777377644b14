"""Errors of all parts as lines for an operator: what is wrong, where, and nothing of a traceback."""

import re
import traceback
from collections.abc import Iterable

from busgate.bus import BusError
from busgate.contracts import ContractError
from busgate.workers import ServiceError

from .authors import is_of_the_author, relative
from .config import ConfigError

_ERRNO = re.compile(r"\[Errno -?\d+\] ")
_EDGE_MODULES = ("aiohttp", "cryptography", "jwt", "markdown_it")


class CommandError(Exception):
    """A command cannot do its work. `faults` are all the reasons, a line each, without secrets."""

    def __init__(self, faults: Iterable[str]) -> None:
        super().__init__()
        self.faults = list(faults)


def lines_of(error: Exception) -> list[str] | None:
    """What to tell of an error, a line each; None: it is none that an operator can mend."""
    match error:
        case CommandError() | ConfigError():
            return [one_line(fault) for fault in error.faults]
        case BusError():
            text = one_line(_ERRNO.sub("", str(error)))
            return [text if text.startswith("the broker ") else f"broker {text}"]
        case ContractError() | ServiceError():
            return [one_line(f"{error}{_place(error)}")]
        case ModuleNotFoundError(name=str(name)) if name.partition(".")[0] in _EDGE_MODULES:
            return [f"{name} is not installed; the edge needs it: pip install 'busgate[edge]'"]
    return None


def trace_of(error: Exception) -> list[str]:
    """The way through the author's own code to what went wrong on import, a line each."""
    cause = error.__cause__ if isinstance(error, ContractError | ServiceError) else None
    if isinstance(cause, SyntaxError):
        text = traceback.format_exception_only(cause)[1:-1]  # without its place and its message
    elif cause is not None:
        frames = [frame for frame in traceback.extract_tb(cause.__traceback__) if is_of_the_author(frame.filename)]
        text = traceback.format_list(frames)
    else:
        text = []
    return [printable(line) for part in text for line in part.splitlines()]


def printable(text: str) -> str:
    """A text with escapes for what cannot be seen."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def one_line(text: str) -> str:
    """A text that cannot break out of its line: spaces for line breaks, escapes for what cannot be seen."""
    return printable(" ".join(text.split()))


def _place(error: Exception) -> str:
    """Where a module failed on import: file and line."""
    cause = error.__cause__
    if cause is None:
        return ""
    if isinstance(cause, SyntaxError) and cause.filename:
        return f" ({relative(cause.filename)}:{cause.lineno})"
    frames = traceback.extract_tb(cause.__traceback__)
    frame = next((frame for frame in reversed(frames) if is_of_the_author(frame.filename)), None)
    return f" ({relative(frame.filename)}:{frame.lineno})" if frame else ""
