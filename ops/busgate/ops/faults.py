"""Errors of all parts as lines for an operator: what is wrong, where, and nothing of a traceback."""

import re
import traceback
from collections.abc import Iterable
from pathlib import Path
from traceback import FrameSummary

from busgate.bus import BusError
from busgate.contracts import ContractError
from busgate.workers import ServiceError

from .config import ConfigError

_ERRNO = re.compile(r"\[Errno -?\d+\] ")
_EDGE_MODULES = ("aiohttp", "cryptography", "jwt")
_OURS = str(Path("busgate", "contracts")), str(Path("busgate", "workers"))


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
            return [f"broker {one_line(_ERRNO.sub('', str(error)))}"]
        case ContractError() | ServiceError():
            return [one_line(f"{error}{_place(error)}")]
        case ModuleNotFoundError(name=str(name)) if name.partition(".")[0] in _EDGE_MODULES:
            return [f"{name} is not installed; the edge needs it: pip install 'busgate[edge]'"]
    return None


def one_line(text: str) -> str:
    """A text that cannot break out of its line: spaces for line breaks, escapes for what cannot be seen."""
    joined = " ".join(text.split())
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in joined)


def _place(error: Exception) -> str:
    """Where a module failed on import: file and line."""
    cause = error.__cause__
    if cause is None:
        return ""
    if isinstance(cause, SyntaxError) and cause.filename:
        return f" ({_relative(cause.filename)}:{cause.lineno})"
    frames = traceback.extract_tb(cause.__traceback__)
    frame = next(filter(_is_of_the_author, reversed(frames)), None)
    return f" ({_relative(frame.filename)}:{frame.lineno})" if frame else ""


def _is_of_the_author(frame: FrameSummary) -> bool:
    """Whether a frame is in the module that was to be imported, or in what it calls of its author's."""
    foreign = frame.filename.startswith("<") or "site-packages" in frame.filename or "importlib" in frame.filename
    return not foreign and not any(part in frame.filename for part in _OURS)


def _relative(filename: str) -> str:
    path = Path(filename)
    return str(path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path)
