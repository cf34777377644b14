"""The reference of the configuration as Markdown: the second half of docs/config.md."""

from collections.abc import Iterable, Iterator

from pydantic import BaseModel

from .config_reference import Reference, Value, references

_HEAD = ("key", "type", "default", "allowed", "meaning")


def document(model: type[BaseModel]) -> str:
    """All tables below a model of the whole file."""
    return "\n".join(line for reference in references(model) for line in _section(reference))


def _section(reference: Reference) -> Iterator[str]:
    yield f"## {reference.heading}"
    yield ""
    yield reference.about
    yield ""
    yield _row(_HEAD)
    yield _row("---" for _ in _HEAD)
    yield from (_row(_cells(value)) for value in reference.values)
    yield ""


def _cells(value: Value) -> tuple[str, ...]:
    key = f"`{value.key}`" + (f"<br>`{value.environ}`" if value.environ else "")
    default = value.default if value.default in ("none", "required") else f"`{value.default}`"
    return key, value.kind, default, value.allowed, value.meaning


def _row(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"
