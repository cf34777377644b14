"""What the edge serves as documentation, by path; made once, at start."""

import json
from importlib.resources import files

import structlog

from busgate.contracts import Catalog, ContractError
from busgate.contracts.openapi import document
from busgate.contracts.sample import Json
from busgate.contracts.security import Doors
from busgate.edge.access_rules import accepted
from busgate.edge.settings import DOCS_PATH, DOCUMENT_PATH, EdgeSettings
from busgate.edge.static import StaticFile

from .page import render

log = structlog.stdlib.get_logger("busgate.edge")

MOST = 2000
"""Contracts that are documented: each takes a millisecond at start and 20 kB in every process of an edge."""

_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "form-action 'none'; base-uri 'none'; frame-ancestors 'none'"
)
_HEADERS = (
    ("Content-Security-Policy", _POLICY),
    ("Cross-Origin-Resource-Policy", "same-origin"),
    ("Referrer-Policy", "no-referrer"),
    ("X-Frame-Options", "DENY"),
)
_TYPES = {
    "page.css": "text/css; charset=utf-8",
    "page.js": "text/javascript; charset=utf-8",
    "icon.svg": "image/svg+xml",
}


def describe(catalog: Catalog, settings: EdgeSettings) -> Json:
    """The document.

    Raises:
        ContractError: a model has a type that JSON Schema cannot say.
    """
    docs = settings.docs
    doors = Doors(lambda call: accepted(call, settings.accept, settings.schemes), settings.api_keys.header)
    try:
        return document(catalog, title=docs.title, version=docs.version, description=docs.description, doors=doors)
    except ContractError as error:
        raise ContractError(f"{error}; give it another type, or set edge.docs.enabled = false") from None


def docs_files(catalog: Catalog, settings: EdgeSettings) -> dict[str, StaticFile]:
    """The page, what it needs, and the document that it is made of; nothing for more than MOST contracts.

    Raises:
        ContractError: a model has a type that JSON Schema cannot say.
    """
    if len(catalog) > MOST:
        log.warning(
            "too many contracts for /docs and /openapi.json; `busgate openapi` writes the document",
            contracts=len(catalog),
            most=MOST,
        )
        return {}
    described = describe(catalog, settings)
    text = json.dumps(described, ensure_ascii=False, separators=(",", ":")).encode()
    found = {
        DOCS_PATH: StaticFile(render(described), "text/html; charset=utf-8", _HEADERS),
        DOCUMENT_PATH: StaticFile(text, "application/json", _HEADERS),
    }
    for name, content_type in _TYPES.items():
        body = files(__package__).joinpath(name).read_bytes()
        found[f"{DOCS_PATH}/{name}"] = StaticFile(body, content_type, _HEADERS)
    return found
