"""For which contracts a table of the configuration holds: by patterns of their topics, or of their paths."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from busgate.bus.tables import Names, Table, is_like
from busgate.contracts import Call


class ForContracts(Table):
    """A table that is for some contracts; for all where it names neither topics nor paths."""

    topics: Names = ()
    paths: Names = ()

    @property
    def everywhere(self) -> bool:
        return not self.topics and not self.paths

    def covers(self, call: Call[Any, Any]) -> bool:
        """Whether a contract is meant: by its topic or by its path; all are where neither is given."""
        return self.everywhere or is_like(call.topic, self.topics) or is_like(call.http.path, self.paths)

    def covers_path(self, path: str) -> bool:
        """Whether a path is meant that no contract was found for."""
        return self.everywhere or is_like(path, self.paths)

    def covers_none_of(self, catalog: Iterable[Call[Any, Any]]) -> list[str]:
        """The patterns that no contract is like: mistyped, or left over."""
        calls = list(catalog)
        return lonely(self.topics, [call.topic for call in calls]) + lonely(
            self.paths, [call.http.path for call in calls]
        )


def lonely(patterns: Iterable[str], texts: Iterable[str]) -> list[str]:
    """The patterns that no text is like."""
    known = list(texts)
    return [pattern for pattern in patterns if not any(is_like(text, [pattern]) for text in known)]


def idle_faults(key: str, tables: Sequence[ForContracts], calls: Iterable[Call[Any, Any]]) -> Iterator[str]:
    """What is wrong with tables whose patterns are about nothing, in a line each."""
    known = list(calls)
    for number, table in enumerate(tables):
        for pattern in table.covers_none_of(known):
            yield f"{key}.{number}: about {pattern!r}, which no contract is like"
