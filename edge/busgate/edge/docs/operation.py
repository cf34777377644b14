"""One contract on the page: what it takes, every answer it gives, examples, and the form to try it."""

import json
from collections.abc import Iterator
from urllib.parse import quote, urlencode

from busgate.contracts.sample import Json

from .examples import NOTHING, Pair, as_text, pairs_of, texts_of
from .html import Content, Html, code, join, prose, shown_json, tag
from .schema import SchemaText
from .try_it import try_it

HEAD = frozenset({"type", "title", "status", "detail", "instance", "outcome"})
"""Members of every problem; the page explains them once."""


def operation_section(method: str, path: str, operation: Json, text: SchemaText) -> Html:
    """The article of one operation."""
    anchor = operation["operationId"]
    pairs = pairs_of(operation)
    examples = [_example(method, path, pair, anchor=anchor, opened=number == 0) for number, pair in enumerate(pairs)]
    return tag(
        "article",
        tag(
            "div",
            _head(method, path, operation),
            tag("div", prose(operation["description"]), class_="prose") if "description" in operation else None,
            _request(operation, text),
            tag("h4", "Answers"),
            list(_answers(operation, text)),
            class_="says",
        ),
        tag(
            "div",
            [tag("h4", "Examples"), examples] if examples else None,
            try_it((anchor, method, path), operation, pairs, text),
            class_="shows",
        ),
        id=anchor,
        class_="operation",
        aria_labelledby=f"{anchor}-title",
    )


def method_label(method: str) -> Html:
    return tag("span", method, class_=f"method {method.lower()}")


def _head(method: str, path: str, operation: Json) -> Html:
    anchor = operation["operationId"]
    facts: list[Content] = [f"Answered within {operation['x-busgate-timeout']:g} s"]
    if method in ("GET", "PUT", "DELETE"):
        facts.append("safe to repeat")
    facts.append(_who_may(operation["security"]))
    facts.append(["topic ", code(operation["x-busgate-topic"])])
    return tag(
        "header",
        tag("h3", tag("a", operation["summary"], href=f"#{anchor}"), id=f"{anchor}-title"),
        tag("p", method_label(method), " ", tag("code", _with_marks(path)), class_="route"),
        tag("ul", [tag("li", fact) for fact in facts], class_="facts"),
    )


_CREDENTIALS = {
    "bearer": "token",
    "apiKey": "API key",
    "signature": "signature",
    "certificate": "client certificate",
}


def _who_may(security: list[Json]) -> Content:
    if not security:
        return "no token needed"
    ways = {name: scopes for way in security for name, scopes in way.items()}
    credential = " or ".join(_CREDENTIALS[name] for name in ways)
    scopes = next(iter(ways.values()))
    if not scopes:
        return f"any valid {credential}"
    return [credential, " with ", [[" and " if number else None, code(one)] for number, one in enumerate(scopes)]]


def _with_marks(path: str) -> list[Content]:
    """A path whose variables stand out and that may be broken into lines at its slashes."""
    pieces: list[Content] = []
    for segment in path[1:].split("/"):
        pieces += [tag("wbr"), "/", tag("var", segment) if segment.startswith("{") else segment]
    return pieces


def _request(operation: Json, text: SchemaText) -> Html:
    parts: list[Content] = []
    for place, title in (("path", "In the path"), ("query", "In the query"), ("header", "In headers")):
        rows = [
            text.row(one["name"], one["schema"] | _described(one), required=one["required"])
            for one in operation["parameters"]
            if one.get("in") == place
        ]
        if rows:
            parts.append([tag("h5", title), tag("ul", rows, class_="members")])
    if "requestBody" in operation:
        schema = operation["requestBody"]["content"]["application/json"]["schema"]
        parts.append([tag("h5", "In the body, as JSON"), text.members(schema)])
    return join(tag("h4", "Request"), parts or tag("p", "Takes nothing.", class_="rules"))


def _described(parameter: Json) -> Json:
    return {key: parameter[key] for key in ("description", "deprecated") if key in parameter}


def _answers(operation: Json, text: SchemaText) -> Iterator[Html]:
    common: list[tuple[str, str]] = []
    for status, response in operation["responses"].items():
        content = response.get("content", {})
        if "$ref" in response:
            common.append((status, text.response(response)["description"]))
        elif status == "default":
            continue
        elif "application/problem+json" in content:
            for schema in text.choices(content["application/problem+json"]["schema"]):
                yield _problem(status, schema, text)
        else:
            yield _success(status, response, text)
    rows = [tag("li", status_label(status), " ", description) for status, description in common]
    yield tag(
        "details",
        tag("summary", "Problems that any call can end with"),
        tag("ul", rows, class_="common"),
        tag("p", tag("a", "What each of them means", href="#problems")),
        class_="answer",
    )


def status_label(status: str) -> Html:
    return tag("span", status, class_=f"status s{status[0]}")


def _success(status: str, response: Json, text: SchemaText) -> Html:
    content = response.get("content", {}).get("application/json")
    location = response.get("headers", {}).get("Location", {}).get("description")
    return tag(
        "details",
        tag("summary", status_label(status), " ", response["description"], " ", outcome_mark("executed")),
        tag("p", "Header ", code("Location"), ": ", code(location), class_="rules") if location else None,
        text.members(content["schema"], every=True) if content else tag("p", "No body.", class_="rules"),
        class_="answer",
        open=True,
    )


def _problem(status: str, schema: Json, text: SchemaText) -> Html:
    whole = text.resolve(schema)
    kind = whole["properties"]["type"].get("const")
    if kind is None:  # the gateway's own problems of this status
        return tag(
            "details",
            tag("summary", status_label(status), " Other problems of this status"),
            tag("p", tag("a", "What each of them means", href="#problems")),
            class_="answer",
        )
    return tag(
        "details",
        tag("summary", status_label(status), " ", whole["description"], " ", outcome_mark("executed")),
        tag("p", code(kind), class_="rules"),
        text.members(schema, leave=HEAD),
        class_="answer",
        data_type=kind,
    )


def outcome_mark(outcome: str) -> Html:
    """An outcome where a link would be in the way."""
    return tag("span", outcome, class_=f"outcome {outcome}")


def outcome_label(outcome: str) -> Html:
    return tag("a", outcome, href=f"#{outcome}", class_=f"outcome {outcome}")


def _example(method: str, path: str, pair: Pair, *, anchor: str, opened: bool) -> Html:
    asked = _asked(method, path, pair) if pair.asks else None
    answered = None if pair.answer is NOTHING else tag("pre", shown_json(pair.answer), tabindex="0")
    use = tag("button", "Try this", type="button", data_do="use", data_fill=_filling(pair), hidden=True)
    return tag(
        "details",
        tag("summary", pair.title, " ", status_label(pair.status) if pair.status else None),
        [tag("h5", "Request"), asked, use] if asked else None,
        [tag("h5", "Answer"), answered] if answered else None,
        class_="example",
        name=f"{anchor}-examples",
        open=opened,
    )


def _asked(method: str, path: str, pair: Pair) -> Html:
    """The request of an example, as one would read it on the wire."""
    values = {place: _texts(pair, place) for place in ("path", "header")}
    for name, value in values["path"].items():
        path = path.replace(f"{{{name}}}", quote(value, safe=""))
    asked = [(name, texts_of(value)) for (at, name), value in pair.parameters.items() if at == "query"]
    query = urlencode(asked, doseq=True)
    lines: list[Content] = [tag("b", method), f" {path}{'?' if query else ''}{query}"]
    lines += [f"\n{name}: {value}" for name, value in values["header"].items()]
    if pair.body is not NOTHING:
        lines += ["\n", shown_json(pair.body)]
    return tag("pre", lines, tabindex="0")


def _texts(pair: Pair, place: str) -> dict[str, str]:
    return {name: as_text(value) for (at, name), value in pair.parameters.items() if at == place}


def _filling(pair: Pair) -> str:
    """What fills the form with an example: place, name and text of each control."""
    controls = [[place, name, as_text(value)] for (place, name), value in pair.parameters.items()]
    if pair.body is not NOTHING:
        controls.append(["body", "body", json.dumps(pair.body, indent=2, ensure_ascii=False)])
    return json.dumps(controls)
