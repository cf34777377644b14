"""HTML from Python: what is not HTML already is escaped, so nothing that a contract says can become markup."""

import json
import re
from collections.abc import Iterable
from html import escape
from typing import Any, TypeAlias

from markdown_it import MarkdownIt

_VOID = frozenset({"input", "link", "meta", "wbr"})
_TOKEN = re.compile(r'("(?:[^"\\]|\\.)*")(:)?|(-?[0-9][0-9.eE+-]*|true|false|null)')


class Html(str):
    """Text that is HTML."""

    __slots__ = ()


Content: TypeAlias = "str | Iterable[Content] | None"


def tag(element: str, /, *content: Content, **attributes: str | float | bool | None) -> Html:
    """An element. In names of attributes `_` stands for `-`; True is one without a value, None and False are none."""
    words = [element]
    for key, value in attributes.items():
        if value is None or value is False:
            continue
        key = key.rstrip("_").replace("_", "-")  # noqa: PLW2901 - Python's spelling becomes that of HTML
        words.append(key if value is True else f'{key}="{escape(str(value))}"')
    head = f"<{' '.join(words)}>"
    return Html(head if element in _VOID else f"{head}{join(*content)}</{element}>")


def join(*content: Content) -> Html:
    """Several pieces as one."""
    return Html("".join(map(_text, content)))


def _text(content: Content) -> str:
    if content is None:
        return ""
    if isinstance(content, str):
        return content if isinstance(content, Html) else escape(content)
    return "".join(map(_text, content))


def code(text: str) -> Html:
    return tag("code", text)


def shown_json(value: Any) -> Html:
    """A JSON value on several lines, names and values told apart."""
    text = json.dumps(value, indent=2, ensure_ascii=False)
    pieces: list[Content] = []
    end = 0
    for found in _TOKEN.finditer(text):
        pieces.append(text[end : found.start()])
        kind = "key" if found[2] else "text" if found[1] else "word"
        pieces += [tag("span", found[1] or found[3], class_=f"json-{kind}"), found[2]]
        end = found.end()
    return join(pieces, text[end:])


_COMMONMARK = MarkdownIt("commonmark", {"html": False}).disable("image")


def prose(text: str) -> Html:
    """CommonMark as HTML. Markup in it is text, its headings rank below those of the page, images are left out."""
    tokens = _COMMONMARK.parse(text)
    for token in tokens:
        if token.type.startswith("heading"):
            token.tag = "h5"
    return Html(_COMMONMARK.renderer.render(tokens, _COMMONMARK.options, {}))
