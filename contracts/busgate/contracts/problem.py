"""Problems that a contract declares: business failures with a status, a stable type and typed fields.

A problem travels as an RFC 9457 document, from the handler that raises it to the HTTP client, and is
checked against its class on the way, like a reply.

    class OutOfStock(Problem):
        status = 409
        sku: str
        available: int

    raise OutOfStock("not enough in stock", sku="A-1", available=2)
"""

import builtins
import re
from typing import Any, ClassVar, Self, dataclass_transform, get_origin, get_type_hints

from pydantic import BaseModel, ConfigDict, create_model

from .failure import TYPE_PREFIX

RESERVED = frozenset({"type", "title", "status", "detail", "instance", "outcome", "by", "service", "stages", "errors"})
"""Members of the document that busgate itself writes; a problem has no field of these names."""


def _detail(*, kw_only: bool = False, default: str = "") -> Any:  # noqa: ARG001 - for type checkers
    return default


@dataclass_transform(kw_only_default=True, field_specifiers=(_detail,))
class _Declaration(Exception):  # noqa: N818 - Problem is the word of RFC 9457
    """Lets type checkers read a subclass of Problem like a dataclass: wrong fields fail where it is raised."""


class Problem(_Declaration):
    """Base of all declared problems; a subclass is its declaration.

    Class attributes: `status` (4xx or 5xx, required), `type` (a URI reference, default
    `urn:problem:<name-of-the-class>`), `title` (default: the first line of the docstring, or the name).
    Annotated attributes are the fields of the document.

    Raises:
        TypeError: at the declaration, when the status is missing or a field has a reserved name; when raised
            with fields that do not fit.
    """

    status: ClassVar[int]
    type: ClassVar[str]
    title: ClassVar[str]
    model: ClassVar[builtins.type[BaseModel]]

    detail: str = _detail(kw_only=False, default="")

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        if not (isinstance(getattr(cls, "status", None), int) and 400 <= cls.status <= 599):
            raise TypeError(f"{cls.__qualname__}: a problem needs `status = 4xx or 5xx`")
        words = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", " ", cls.__name__)
        own = cls.__dict__
        if "type" not in own:
            cls.type = "urn:problem:" + words.lower().replace(" ", "-")
        if cls.type.startswith(TYPE_PREFIX):
            raise TypeError(f"{cls.__qualname__}: types that start with {TYPE_PREFIX} are busgate's own")
        if "title" not in own:
            cls.title = (cls.__doc__ or words.capitalize()).strip().splitlines()[0].rstrip(".")
        fields = _field_hints(cls)
        if taken := sorted(name for name in fields if name in RESERVED or hasattr(Problem, name)):
            raise TypeError(f"{cls.__qualname__}: the field name {taken[0]!r} is reserved")
        definitions: dict[str, Any] = {name: (hint, getattr(cls, name, ...)) for name, hint in fields.items()}
        cls.model = create_model(
            cls.__name__,
            __config__=ConfigDict(frozen=True),
            __module__=cls.__module__,
            **definitions,
        )

    def __init__(self, detail: str = "", /, **fields: Any) -> None:
        super().__init__(detail)
        self.detail = detail
        try:
            values = self.model(**fields)
        except ValueError as error:
            raise TypeError(f"{type(self).__qualname__}: {error}") from error
        if unknown := fields.keys() - type(values).model_fields.keys():
            raise TypeError(f"{type(self).__qualname__} has no field {min(unknown)!r}")
        for name in type(values).model_fields:
            setattr(self, name, getattr(values, name))
        self._values = values

    def document(self) -> dict[str, Any]:
        """The problem as an RFC 9457 document, its fields as extension members."""
        head: dict[str, Any] = {
            "type": self.type,
            "title": self.title,
            "status": self.status,
            "outcome": "executed",
        }
        if self.detail:
            head["detail"] = self.detail
        fields: dict[str, Any] = self._values.model_dump(mode="json")
        return head | fields

    @classmethod
    def from_document(cls, document: dict[str, Any]) -> Self:
        """Read a problem of this class back from its document; unknown members are ignored.

        Raises:
            ValueError: a field is missing or of the wrong type.
        """
        values = cls.model.model_validate(document)
        detail = document.get("detail", "")
        if not isinstance(detail, str):
            raise ValueError("detail is not a string")  # noqa: TRY004 - one kind of error for every bad document
        return cls(detail, **{name: getattr(values, name) for name in type(values).model_fields})


def _field_hints(cls: builtins.type[Problem]) -> dict[str, Any]:
    own = {"status", "type", "title", "model", "detail"}
    return {
        name: hint
        for name, hint in get_type_hints(cls, include_extras=True).items()
        if name not in own and get_origin(hint) is not ClassVar and not name.startswith("_")
    }
