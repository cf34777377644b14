"""From a request to the canonical JSON of its contract: what the bus carries is always our own serialisation.

Path, query and header values are parsed each by its field, as strings (`"5"` fits an int), then merged as
JSON with the body, and the whole is validated strictly (`"5"` does not fit an int), with no unknown members.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any, Literal, cast

from pydantic import TypeAdapter, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import to_json

from busgate.contracts import Call
from busgate.contracts.fields import holds_many, request_fields

from .invalid import ERRORS_LIMIT, UNKNOWN_PARAMETER, detail_of, errors_of, pointer
from .json_body import KEY_LIMIT, parse_object
from .refusal import BAD_REQUEST, INVALID, Refusal
from .target import query_pairs

Headers = Callable[[str], Sequence[str]]
"""All values of a header by its name, none where it is not there."""


def _no_headers(_: str) -> Sequence[str]:
    return ()


class Binding:
    """Binds requests to one contract; made once, at start."""

    __slots__ = (
        "_body_keys",
        "_headers",
        "_merges",
        "_parameters",
        "_path",
        "_query",
        "_takes_body",
        "_to_json",
        "_validate",
        "body_required",
    )

    def __init__(self, call: Call[Any, Any]) -> None:
        fields = request_fields(call)
        self._path = [_Parameter("path", name, name, fields.path[name]) for name in call.http.variables]
        self._headers = [_Parameter("header", key, mark.name, field) for key, (mark, field) in fields.header.items()]
        self._query = {key: _Parameter("query", key, key, field) for key, field in fields.query.items()}
        self._parameters = {one.key: one.place for one in (*self._path, *self._headers, *self._query.values())}
        self._body_keys = frozenset(fields.body)
        self._takes_body = call.http.has_body
        self._merges = bool(self._parameters) or not self._body_keys
        call.request.model_rebuild()  # where the model waits for a forward reference; else nothing
        self._validate = call.request.__pydantic_validator__.validate_json
        self._to_json: Callable[..., bytes] = call.request.__pydantic_serializer__.to_json
        self.body_required = bool(fields.body)

    def bind(
        self, body: bytes, *, variables: Sequence[str] = (), query: str = "", headers: Headers = _no_headers
    ) -> bytes:
        """The canonical JSON of a request.

        Args:
            body: as it arrived, at most the `max_body` of the contract.
            variables: the values of the path variables, decoded, in the order of the template.
            query: what follows the `?`, as it arrived.
            headers: gets all values of a header.

        Raises:
            Refusal: BAD_REQUEST where the request is not well-formed, INVALID where it breaks the contract.
        """
        if self._merges:
            value, text = self._merge(body, variables, self._read_query(query), headers)
        else:
            if query:
                self._read_query(query)
            value = parse_object(body)
            text = body
        if len(value) > len(self._body_keys):  # or pydantic makes an error object for each of 100,000
            self._refuse_unknown(value)
        try:
            model = self._validate(text, strict=True, extra="forbid", by_alias=True, by_name=False)
        except ValidationError as error:
            raise Refusal(INVALID, errors=errors_of(error, value, self._parameters)) from None
        return self._to_json(model, by_alias=True, exclude_unset=True, exclude_computed_fields=True)

    def _merge(
        self,
        body: bytes,
        variables: Sequence[str],
        query: list[tuple["_Parameter", list[str]]],
        headers: Headers,
    ) -> tuple[dict[str, Any], bytes]:
        value, rest = self._read_body(body)
        given: list[tuple[_Parameter, Sequence[str]]] = [
            (parameter, [raw]) for parameter, raw in zip(self._path, variables, strict=True)
        ]
        given += query
        given += [(parameter, found) for parameter in self._headers if (found := headers(parameter.name))]
        members = []
        errors = []
        for parameter, raw in given:
            try:
                members.append(parameter.member(raw))
            except ValidationError as error:
                errors.append(parameter.place | {"detail": detail_of(error.errors(include_url=False)[0])})
        if errors:
            raise Refusal(INVALID, errors=errors[:ERRORS_LIMIT]) from None
        return value, b"{" + b",".join(members + rest) + b"}"

    def _read_body(self, body: bytes) -> tuple[dict[str, Any], list[bytes]]:
        """The parsed body, and its members as text, if there are any."""
        if not self._takes_body and body:
            raise Refusal(BAD_REQUEST, "this method takes no body")
        if not body and not self.body_required:
            return {}, []
        value = parse_object(body)
        if taken := value.keys() & self._parameters.keys():
            raise Refusal(
                INVALID,
                errors=[
                    {"pointer": pointer(key), "detail": f"This comes from the {self._parameters[key]['in']}"}
                    for key in sorted(taken)[:ERRORS_LIMIT]
                ],
            )
        return value, [body.strip(b" \t\r\n")[1:-1]] if value else []

    def _read_query(self, query: str) -> list[tuple["_Parameter", list[str]]]:
        if not query:
            return []
        values: dict[str, list[str]] = {}
        for name, value in query_pairs(query):
            values.setdefault(name, []).append(value)
        if unknown := [name for name in values if name not in self._query]:
            raise Refusal(
                INVALID,
                errors=[
                    {"in": "query", "name": name[:KEY_LIMIT], "detail": UNKNOWN_PARAMETER}
                    for name in unknown[:ERRORS_LIMIT]
                ],
            )
        return [(self._query[name], found) for name, found in values.items()]

    def _refuse_unknown(self, value: dict[str, Any]) -> None:
        unknown = [key for key in value if key not in self._body_keys]
        raise Refusal(
            INVALID,
            f"the body has {len(unknown)} unknown members",
            errors=[
                {"pointer": pointer(key), "detail": "Extra inputs are not permitted"} for key in unknown[:ERRORS_LIMIT]
            ],
        )


class _Parameter:
    """A field that comes from the path, the query or a header."""

    __slots__ = ("_many", "_prefix", "_serialize", "_validate", "key", "name", "place")

    def __init__(self, source: Literal["path", "query", "header"], key: str, name: str, field: FieldInfo) -> None:
        self.key = key
        self.name = name
        self.place = {"in": source, "name": name}
        # The bare type: the field's own constraints and validators run once, with the whole model.
        adapter: TypeAdapter[Any] = TypeAdapter(cast("Any", field.annotation))
        self._many = holds_many(field.annotation)
        core = adapter.validator
        self._validate: Callable[..., Any] = core.validate_python if self._many else core.validate_strings
        self._serialize = adapter.serializer.to_json
        self._prefix = to_json(key) + b":"

    def member(self, values: Sequence[str]) -> bytes:
        """The member of the request object.

        Raises:
            Refusal: more values than the field holds, or text that JSON cannot carry.
            ValidationError: the text does not fit the type.
        """
        if self._many and self.place["in"] == "header":  # a list in one line or in several (RFC 9110, 5.3)
            values = [part for text in values for item in text.split(",") if (part := item.strip(" \t"))]
        if len(values) > 1 and not self._many:
            raise Refusal(BAD_REQUEST, f"the {self.place['in']} parameter {self.name} stands more than once")
        for text in values:
            self._check_text(text)
        value = self._validate(list(values) if self._many else values[0], strict=False)
        parsed = value if self._many else (value,)
        if any(isinstance(one, float) and not math.isfinite(one) for one in parsed):
            raise self._invalid("Input should be a finite number")
        return self._prefix + self._serialize(value)

    def _check_text(self, text: str) -> None:
        if "\0" in text:
            raise self._invalid("A string holds U+0000")
        if not text.isascii():
            try:
                text.encode()
            except UnicodeEncodeError:
                raise Refusal(BAD_REQUEST, f"the {self.place['in']} parameter {self.name} is not UTF-8") from None

    def _invalid(self, detail: str) -> Refusal:
        return Refusal(INVALID, errors=[self.place | {"detail": detail}])
