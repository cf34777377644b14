"""From method and path to the target of a route.

A path without variables costs one dictionary lookup, whatever the number of routes. Templates with variables
are a tree of segments for each method; a literal segment wins over a variable, the leftmost difference first.
"""

from collections.abc import Iterable
from typing import Generic, TypeVar

from busgate.contracts.http import Route, segments_of

from .refusal import METHOD_NOT_ALLOWED, NOT_FOUND, Refusal

T = TypeVar("T")


class _Node(Generic[T]):
    __slots__ = ("literals", "target", "variable")

    def __init__(self) -> None:
        self.literals: dict[str, _Node[T]] = {}
        self.variable: _Node[T] | None = None
        self.target: T | None = None


class Router(Generic[T]):
    """The routes of an edge, built once.

    Raises:
        ValueError: two routes have one method and one path.
    """

    def __init__(self, routes: Iterable[tuple[Route, T]]) -> None:
        self._static: dict[tuple[str, str], T] = {}
        self._trees: dict[str, _Node[T]] = {}
        for route, target in routes:
            self._add(route, target)

    def _add(self, route: Route, target: T) -> None:
        tree = self._trees.setdefault(route.method, _Node())
        if not route.variables:
            taken = (route.method, route.path) in self._static
            self._static[route.method, route.path] = target
        else:
            node = _grow(tree, route)
            taken = node.target is not None
            node.target = target
        if taken:
            raise ValueError(f"two routes are {route.method} {route.path}")

    def find(self, method: str, path: str) -> tuple[T, tuple[str, ...]]:
        """The target of a decoded path, and the values of its variables in order. HEAD finds what GET does.

        Raises:
            Refusal: no route has this path, or none has it with this method.
        """
        if method == "HEAD":
            method = "GET"
        target = self._static.get((method, path))
        if target is not None:
            return target, ()
        found = self._match(method, path)
        if found is None:
            raise self._refusal(path)
        return found

    def _match(self, method: str, path: str) -> tuple[T, tuple[str, ...]] | None:
        tree = self._trees.get(method)
        return None if tree is None else _walk(tree, path[1:].split("/"), 0)

    def targets(self, path: str) -> dict[str, T]:
        """All targets of a path, by method."""
        found = {}
        for method in self._trees:
            target = self._static.get((method, path))
            match = None if target is not None else self._match(method, path)
            if target is not None or match is not None:
                found[method] = target if match is None else match[0]
        return found  # type: ignore[return-value] # one of the two is there

    def allowed(self, path: str) -> list[str]:
        """The methods that this path is served with, HEAD included; empty when there is no such path."""
        methods = list(self.targets(path))
        if "GET" in methods:
            methods.append("HEAD")
        return sorted(methods)

    def _refusal(self, path: str) -> Refusal:
        methods = self.allowed(path)
        if not methods:
            return Refusal(NOT_FOUND)
        return Refusal(METHOD_NOT_ALLOWED, headers=[("Allow", ", ".join(methods))])


def _grow(node: _Node[T], route: Route) -> _Node[T]:
    for literal, variable in segments_of(route.path):
        if not variable:
            node = node.literals.setdefault(literal, _Node())
        else:
            if node.variable is None:
                node.variable = _Node()
            node = node.variable
    return node


def _walk(node: _Node[T], segments: list[str], at: int) -> tuple[T, tuple[str, ...]] | None:
    if at == len(segments):
        return None if node.target is None else (node.target, ())
    segment = segments[at]
    literal = node.literals.get(segment)
    if literal is not None:
        found = _walk(literal, segments, at + 1)
        if found is not None:
            return found
    if node.variable is None or not segment:
        return None
    found = _walk(node.variable, segments, at + 1)
    return None if found is None else (found[0], (segment, *found[1]))
