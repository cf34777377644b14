"""The HTTP side of a contract: method, path template, status, and where a field comes from.

http.post("/orders", status=201, location="/orders/{id}")
http.get("/orders/{id}")
tenant: Annotated[str, http.Header("X-Tenant")]
"""

import re
from dataclasses import dataclass
from typing import Literal

Method = Literal["GET", "POST", "PUT", "PATCH", "DELETE"]

_SEGMENT = re.compile(r"[A-Za-z0-9._~!$&'()*+,;=:@-]+")
_VARIABLE = re.compile(r"\{([A-Za-z_][A-Za-z0-9_]*)\}")
_FIELD_NAME = re.compile(r"[A-Za-z0-9-]+")
_STAYS = frozenset(
    {
        "authorization",
        "connection",
        "content-length",
        "content-type",
        "cookie",
        "host",
        "proxy-authorization",
        "transfer-encoding",
    }
)
"""Credentials and what is about the connection; none of it is for a service to see."""


@dataclass(frozen=True, slots=True)
class Header:
    """Marks a request field that comes from a header: `Annotated[str, Header("X-Tenant")]`."""

    name: str

    def __post_init__(self) -> None:
        if not _FIELD_NAME.fullmatch(self.name):
            raise ValueError(f"{self.name!r} is not a header name (letters, digits and hyphens)")
        if self.name.lower() in _STAYS:
            raise ValueError(f"the header {self.name} stays at the edge and does not travel")


@dataclass(frozen=True, slots=True)
class Route:
    """One method on one path template, and the status of success.

    A template is literal segments and whole-segment variables: `/orders/{id}/lines`. `location` is a template
    over fields of the reply, for the `Location` header of a 201.

    Raises:
        ValueError: the template or the status is not one that can be served.
    """

    method: Method
    path: str
    status: int = 200
    location: str | None = None

    def __post_init__(self) -> None:
        segments_of(self.path)
        segments_of(self.location or "/")
        if not 200 <= self.status <= 299:
            raise ValueError(f"{self.method} {self.path}: the status of success is 2xx, not {self.status}")
        names = self.variables
        if len(set(names)) != len(names):
            raise ValueError(f"{self.method} {self.path}: a path variable stands twice")

    @property
    def variables(self) -> tuple[str, ...]:
        """The names of the path variables, in order."""
        return tuple(name for literal, name in segments_of(self.path) if name)

    @property
    def has_body(self) -> bool:
        """Whether requests carry a JSON body: POST, PUT and PATCH do, GET and DELETE take a query."""
        return self.method in ("POST", "PUT", "PATCH")

    @property
    def shape(self) -> tuple[str, ...]:
        """What two routes may not share: the method and the template with variables made nameless."""
        return (self.method, *("{}" if name else literal for literal, name in segments_of(self.path)))


def segments_of(path: str) -> list[tuple[str, str]]:
    """Split a template into (literal, variable) pairs, of which exactly one is not empty.

    Raises:
        ValueError: the template is not `/`-separated literals and `{variables}`.
    """
    if path == "/":
        return []
    if not path.startswith("/"):
        raise ValueError(f"the path template {path!r} must start with /")
    pairs = []
    for segment in path[1:].split("/"):
        if variable := _VARIABLE.fullmatch(segment):
            pairs.append(("", variable[1]))
        elif _SEGMENT.fullmatch(segment) and segment not in (".", ".."):
            pairs.append((segment, ""))
        else:
            raise ValueError(
                f"the path template {path!r} has a segment {segment!r} that is neither plain nor {{variable}}"
            )
    return pairs


def get(path: str, *, status: int = 200) -> Route:
    return Route("GET", path, status)


def post(path: str, *, status: int = 200, location: str | None = None) -> Route:
    return Route("POST", path, status, location)


def put(path: str, *, status: int = 200, location: str | None = None) -> Route:
    return Route("PUT", path, status, location)


def patch(path: str, *, status: int = 200) -> Route:
    return Route("PATCH", path, status)


def delete(path: str, *, status: int = 200) -> Route:
    return Route("DELETE", path, status)
