"""Schemas in words: the members of an object, their types and what they must be."""

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from busgate.contracts.sample import SCHEMAS, Json, sample_members

from .html import Content, Html, code, join, prose, tag

_BOUNDS = {
    "minimum": "≥ {}",
    "exclusiveMinimum": "> {}",
    "maximum": "≤ {}",
    "exclusiveMaximum": "< {}",
    "multipleOf": "a multiple of {}",
    "minLength": "at least {} characters",
    "maxLength": "at most {} characters",
    "minItems": "at least {} items",
    "maxItems": "at most {} items",
}
_TEXTS = {"binary": "bytes", "date-time": "date and time"}


class SchemaText:
    """Describes schemas. A named one is written out once in a description.

    Args:
        components: of the document; references lead there.
    """

    def __init__(self, components: Json) -> None:
        self._schemas: Mapping[str, Json] = components["schemas"]
        self._responses: Mapping[str, Json] = components["responses"]

    def resolve(self, schema: Json) -> Json:
        """A schema itself, where what is given is a reference to it."""
        while "$ref" in schema:
            schema = self._schemas[_name(schema)]
        return schema

    def response(self, reference: Json) -> Json:
        """The response that a reference names."""
        return self._responses[reference["$ref"].rpartition("/")[2]]

    def choices(self, schema: Json) -> list[Json]:
        """The schemas of which a value has one."""
        return schema.get("oneOf") or schema.get("anyOf") or [schema]

    def members(self, schema: Json, *, leave: frozenset[str] = frozenset(), every: bool = False) -> Html:
        """The members of an object in a list; for another type, what it is.

        Args:
            schema: of a body.
            leave: names of members that are not worth a line.
            every: all members are always there, so `required` needs no words.
        """
        return self._members(schema, seen=set(), leave=leave, every=every)

    def row(
        self, name: str, schema: Json, *, required: bool, seen: set[str] | None = None, every: bool = False
    ) -> Html:
        """One member."""
        seen = set() if seen is None else seen
        mark = None if every or not required else tag("span", "required", class_="required")
        head = [code(name), tag("span", self.type_of(schema), class_="type"), mark]
        return tag(
            "li", tag("p", *_spaced(head), class_="member"), self._about(schema), self._inner(schema, seen, every)
        )

    def title_of(self, schema: Json) -> str:
        """What a schema is called."""
        name = re.sub(r".*__|-(?:Input|Output)$", "", _name(schema)) if "$ref" in schema else "members"
        return str(self.resolve(schema).get("title", name))

    def type_of(self, schema: Json) -> str:
        """The type in a few words: `list of Order`, `text (date)`, `integer or null`."""
        if "$ref" in schema:
            return self.title_of(schema)
        for choice in ("anyOf", "oneOf"):
            if choice in schema:
                return " or ".join(dict.fromkeys(map(self.type_of, schema[choice])))
        if "const" in schema:
            return "always"
        match schema.get("type"):
            case "array":
                items = schema.get("items")
                return f"list of {self.type_of(items)}" if isinstance(items, dict) and items else "list"
            case "object":
                more = schema.get("additionalProperties")
                return f"object of {self.type_of(more)}" if isinstance(more, dict) else schema.get("title") or "object"
            case "string" if "format" in schema:
                return f"text ({_TEXTS.get(schema['format'], schema['format'])})"
            case "string":
                return "text"
            case str(kind):
                return kind
        return "one of" if "enum" in schema else "any value"

    def takes_several(self, schema: Json) -> bool:
        """Whether a parameter may stand several times."""
        whole = self.resolve(schema)
        return whole.get("type") == "array" or any(map(self.takes_several, whole.get("anyOf", ())))

    def start_of(self, schema: Json) -> Any:
        """A body to start from; it may need changes to be valid."""
        whole = self.resolve(schema)
        return sample_members(whole, self._schemas, whole.get("properties", ()), some=True)

    def _members(self, schema: Json, *, seen: set[str], leave: frozenset[str] = frozenset(), every: bool) -> Html:
        if "$ref" in schema:
            seen.add(_name(schema))
        whole = self.resolve(schema)
        required = whole.get("required", ())
        rows = [
            self.row(name, inner, required=name in required, seen=seen, every=every)
            for name, inner in whole.get("properties", {}).items()
            if name not in leave
        ]
        if rows:
            return tag("ul", rows, class_="members")
        if "properties" in whole or (whole.get("type") == "object" and not whole.get("additionalProperties")):
            return join()
        return tag("ul", self.row("…", whole, required=False, seen=seen, every=every), class_="members")

    def _about(self, schema: Json) -> Html:
        """What a value must be and what it means."""
        text = schema.get("description") or ""
        rules = list(self._rules(schema))
        return join(
            tag("div", prose(text), class_="about") if text else None,
            tag("p", *_spaced(rules, ", "), class_="rules") if rules else None,
        )

    def _rules(self, schema: Json) -> Iterator[Content]:
        whole = self.resolve(schema)
        for choice in (*whole.get("anyOf", ()), *whole.get("oneOf", ())):
            if "$ref" not in choice or "enum" in self.resolve(choice):
                yield from self._rules(choice)
        if "const" in whole:
            yield code(_value(whole["const"]))
        if "enum" in whole:
            yield join(*_spaced([code(_value(one)) for one in whole["enum"]], " · "))
        for rule, words in _BOUNDS.items():
            if rule in whole:
                yield words.format(whole[rule])
        if "pattern" in whole and len(whole["pattern"]) <= 60:
            yield join("matches ", code(whole["pattern"]))
        if schema.get("default") is not None:
            yield join("by default ", code(_value(schema["default"])))
        if schema.get("deprecated"):
            yield "deprecated"

    def _inner(self, schema: Json, seen: set[str], every: bool) -> Html | None:
        """The members of the objects that a member is made of, where they are not written out already."""
        inner = [one for one in self._objects(schema) if "$ref" not in one or _name(one) not in seen]
        if not inner:
            return None
        seen |= {_name(one) for one in inner if "$ref" in one}
        parts = [self._members(one, seen=seen, every=every) for one in inner]
        names = ", ".join(map(self.title_of, inner))
        return tag("details", tag("summary", names), parts) if any(parts) else None

    def _objects(self, schema: Json, inside: frozenset[str] = frozenset()) -> Iterator[Json]:
        if "$ref" in schema:
            if _name(schema) in inside:  # a list of itself
                return
            inside |= {_name(schema)}
        whole = self.resolve(schema)
        if whole.get("properties"):
            yield schema
        for choice in (*whole.get("anyOf", ()), *whole.get("oneOf", ()), *whole.get("prefixItems", ())):
            yield from self._objects(choice, inside)
        for part in (whole.get("items"), whole.get("additionalProperties")):
            if isinstance(part, dict) and part:
                yield from self._objects(part, inside)


def _name(schema: Json) -> str:
    return str(schema["$ref"]).removeprefix(SCHEMAS)


def _value(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _spaced(pieces: list[Any], between: str = " ") -> list[Content]:
    found = [piece for piece in pieces if piece]
    return [part for piece in found for part in (between, piece)][1:]
