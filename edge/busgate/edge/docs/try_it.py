"""The form that sends a call from the page. `page.js` does the sending; without it nothing of this is shown."""

import json
from collections.abc import Sequence

from busgate.contracts.sample import Json

from .examples import NOTHING, Pair, as_text
from .html import Content, Html, tag
from .schema import SchemaText


def try_it(where: tuple[str, str, str], operation: Json, pairs: Sequence[Pair], text: SchemaText) -> Html:
    """The form of one operation, filled with its first example.

    Args:
        where: the id of the operation on the page, its method and its path.
        operation: of the document.
        pairs: its examples.
        text: describes its schemas.
    """
    anchor, method, path = where
    first = next((pair for pair in pairs if pair.asks), Pair(""))
    form = tag(
        "form",
        [_parameter(anchor, one, first, text) for one in operation["parameters"] if "$ref" not in one],
        _body(anchor, operation, first, text),
        _wait(anchor, operation["x-busgate-timeout"]),
        tag(
            "p",
            tag("button", "Send", type="submit", class_="main"),
            tag("button", "Copy as curl", type="button", data_do="curl"),
            class_="buttons",
        ),
        tag("div", class_="result", role="status", tabindex="-1", aria_label="Answer", hidden=True),
        data_method=method,
        data_path=path,
        data_timeout=operation["x-busgate-timeout"],
        data_token="needed" if _takes(operation, "bearer") else None,
        data_key="needed" if _takes(operation, "apiKey") else None,
        novalidate=True,
        autocomplete="off",
    )
    return tag("details", tag("summary", "Try it"), form, class_="try", hidden=True)


def _takes(operation: Json, name: str) -> bool:
    return any(name in way for way in operation["security"])


def _parameter(anchor: str, parameter: Json, first: Pair, text: SchemaText) -> Html:
    name, place, schema = parameter["name"], parameter["in"], parameter["schema"]
    several = text.takes_several(schema)
    value = first.parameters.get((place, name), NOTHING)
    key = f"{anchor}-{place}-{name}"
    control = tag(
        "input",
        id=key,
        name=name,
        value="" if value is NOTHING else as_text(value),
        data_in=place,
        data_many=several,
        required=parameter["required"],
        aria_describedby=f"{key}-hint",
        spellcheck="false",
    )
    hint = f"{place}, {text.type_of(schema)}{'; several with commas' if several else ''}"
    return _field(control, key, label=[name, " *" if parameter["required"] else None], hint=hint)


def _body(anchor: str, operation: Json, first: Pair, text: SchemaText) -> Html | None:
    if "requestBody" not in operation:
        return None
    value = first.body
    if value is NOTHING:  # no valid example: a start, to be made right by hand
        value = text.start_of(operation["requestBody"]["content"]["application/json"]["schema"])
    lines = json.dumps(value, indent=2, ensure_ascii=False)
    key = f"{anchor}-body"
    control = tag(
        "textarea",
        lines,
        id=key,
        name="body",
        data_in="body",
        rows=min(max(lines.count("\n") + 2, 4), 18),
        aria_describedby=f"{key}-hint",
        spellcheck="false",
    )
    return _field(control, key, label="Body", hint="JSON")


def _wait(anchor: str, timeout: float) -> Html:
    key = f"{anchor}-wait"
    control = tag(
        "input",
        id=key,
        name="wait",
        data_in="wait",
        inputmode="numeric",
        placeholder=f"{timeout:g}",
        aria_describedby=f"{key}-hint",
        class_="short",
    )
    hint = f"Prefer: wait=N; in seconds, at most {timeout:g}"
    return _field(control, key, label="Wait for the answer", hint=hint)


def _field(control: Html, key: str, *, label: Content, hint: str) -> Html:
    return tag(
        "div",
        tag("label", label, for_=key),
        tag("span", hint, id=f"{key}-hint", class_="hint"),
        control,
        class_="field",
    )
