"""The whole page."""

from collections.abc import Iterator
from itertools import groupby

from busgate.contracts.sample import Json

from .guide import outcomes, problems
from .html import Html, join, prose, tag
from .operation import method_label, operation_section
from .schema import SchemaText

Operation = tuple[str, str, Json]
"""Method, path, and what the document says."""


def render(document: Json) -> bytes:
    """The page of an OpenAPI document as HTML in UTF-8. Its links are relative: it works below any prefix."""
    text = SchemaText(document["components"])
    operations = list(_operations(document))
    info = document["info"]
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("title", info["title"]),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", name="color-scheme", content="light dark"),
        tag("link", rel="icon", href="docs/icon.svg", type="image/svg+xml"),
        tag("link", rel="stylesheet", href="docs/page.css"),
        tag("script", src="docs/page.js", type="module"),
    )
    body = tag(
        "body",
        tag("a", "To the operations", href="#operations", class_="skip"),
        _bar(info, document["components"].get("securitySchemes", {})),
        tag("div", _contents(operations), _main(info, operations, text), class_="columns"),
    )
    return join(Html("<!doctype html>\n"), tag("html", head, body, lang="en"), "\n").encode()


def _operations(document: Json) -> Iterator[Operation]:
    """All operations, those of one tag together, in the order of the contracts."""
    found = [
        (method.upper(), path, operation)
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    ]
    tags = list(dict.fromkeys(_tag(operation) for operation in found))
    yield from sorted(found, key=lambda operation: tags.index(_tag(operation)))


def _tag(operation: Operation) -> str:
    return str(operation[2]["tags"][0])


def _bar(info: Json, schemes: Json) -> Html:
    """What stays in sight: the name of the API, and the credential that calls are tried with."""
    key = schemes.get("apiKey")
    return tag(
        "header",
        tag("a", tag("b", info["title"]), " ", tag("span", info["version"]), href="#top", class_="name"),
        tag(
            "form",
            _secret("token", "Token", "paste a bearer token") if "bearer" in schemes or not key else None,
            _secret("api-key", "API key", "or an API key" if "bearer" in schemes else "paste an API key", key["name"])
            if key
            else None,
            tag("button", "Show", type="button", data_do="show", aria_pressed="false"),
            tag("span", "Stays in this page: gone when you close or reload it.", id="token-hint", class_="hidden"),
            class_="token",
            autocomplete="off",
            hidden=True,
        ),
        class_="bar",
        id="top",
    )


def _secret(name: str, label: str, hint: str, header: str | None = None) -> Html:
    """A field for a credential; `header` is what a key comes in."""
    control = tag(
        "input",
        id=name,
        type="text",
        class_="masked",
        placeholder=hint,
        autocomplete="off",
        spellcheck="false",
        aria_describedby="token-hint",
        data_header=header,
    )
    return join(tag("label", label, for_=name), control)


def _contents(operations: list[Operation]) -> Html:
    groups = [
        tag("li", tag("b", name), tag("ul", [_entry(*operation) for operation in group]))
        for name, group in groupby(operations, key=_tag)
    ]
    filter_field = tag(
        "input",
        type="search",
        id="filter",
        placeholder="Find an operation",
        aria_label="Find an operation",
        hidden=True,
    )
    more = [
        tag("li", tag("a", title, href=target))
        for title, target in (
            ("Was it done?", "#outcomes"),
            ("Time", "#time"),
            ("Tokens", "#tokens"),
            ("Problems", "#problems"),
            ("OpenAPI document", "openapi.json"),
        )
    ]
    listed = tag("ul", groups, tag("li", tag("b", "For every call"), tag("ul", more), class_="more"))
    return tag(
        "nav", tag("details", tag("summary", "Contents"), filter_field, listed, open=True), aria_label="Contents"
    )


def _entry(method: str, path: str, operation: Json) -> Html:
    link = tag("a", tag("span", operation["summary"]), method_label(method), href=f"#{operation['operationId']}")
    return tag("li", link, data_words=f"{operation['summary']} {method} {path} {operation['operationId']}".lower())


def _main(info: Json, operations: list[Operation], text: SchemaText) -> Html:
    sections = [
        [tag("h2", name), [operation_section(*operation, text) for operation in group]]
        for name, group in groupby(operations, key=_tag)
    ]
    return tag(
        "main",
        tag("h1", info["title"], " ", tag("small", info["version"])),
        tag("div", prose(info["description"]), class_="prose") if info.get("description") else None,
        outcomes(),
        tag("div", sections, id="operations", tabindex="-1"),
        problems(),
    )
