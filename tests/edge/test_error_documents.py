"""Error documents: what the operator wrote, filled in and harmless; problem documents for whoever asks for them."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ValidationError
from support.site import serving

from busgate.contracts import Call, Catalog, Problem, failure, http
from busgate.contracts.failure import FailureKind
from busgate.edge import refusal
from busgate.edge.error_documents import VALUES, ErrorSettings, document_faults
from busgate.edge.settings import EdgeSettings, faults_with
from busgate.workers import Context, Service

ROOT = Path(__file__).parents[2]


class Read(BaseModel):
    id: int


class OutOfStock(Problem):
    """There is <not> enough."""

    status = 409


read = Call("shop.orders.read.v1", http.get("/orders/{id}"), request=Read, reply=Read, errors=[OutOfStock], public=True)
drop = Call("shop.orders.drop.v1", http.delete("/orders/{id}"), request=Read, reply=Read)
shop = Service("shop")


@shop.handles(read)
async def answer(request: Read, context: Context) -> Read:
    raise OutOfStock('"<b>&\n')


CONTRACTS: list[Call[Any, Any]] = [read, drop]
NHN = '{"header":{"isSuccessful":false,"resultCode":${status},"resultMessage":"${title}: ${detail}"}}'
PAGE = "<!doctype html>\n<title>${title}</title>\n<h1>${status} ${title}</h1>\n<p>${detail}"
JSON = {"types": ["*"], "media_type": "application/json", "template": NHN, "default": True}
HTML = {"types": ["not-found", "urn:problem:*"], "media_type": "text/html", "template": PAGE}
XML = {"types": ["not-found"], "media_type": "application/problem+xml", "template": "<p>${type}</p>"}
PLAIN = {"types": ["not-found"], "media_type": "text/plain", "template": "${title}"}
BROWSER = "text/html,application/xhtml+xml,application/xml;q=0.9,image/webp,*/*;q=0.8"
PROBLEM, HTML_UTF_8 = "application/problem+json", "text/html; charset=utf-8"

CHOICES: list[Any] = [
    pytest.param([HTML], None, PROBLEM, id="no wish"),
    pytest.param([HTML], "*/*", PROBLEM, id="anything"),
    pytest.param([HTML], "application/json", PROBLEM, id="JSON is a problem document, as ever"),
    pytest.param([HTML], "text/html", HTML_UTF_8, id="HTML"),
    pytest.param([HTML], BROWSER, HTML_UTF_8, id="a browser"),
    pytest.param([HTML], "text/html;q=0.5, application/problem+json", PROBLEM, id="rather a problem document"),
    pytest.param([HTML], "text/html;q=0.5, application/*;q=0.4", HTML_UTF_8, id="rather HTML"),
    pytest.param([HTML], "text/html;q=0", PROBLEM, id="anything but HTML"),
    pytest.param([HTML], "image/png", PROBLEM, id="what there is not"),
    pytest.param([HTML], "text/html;;q=x", PROBLEM, id="what cannot be read"),
    pytest.param([JSON, HTML], None, "application/json", id="no wish, with a default"),
    pytest.param([JSON, HTML], "*/*", "application/json", id="anything, with a default"),
    pytest.param([JSON, HTML], "application/json", "application/json", id="JSON, with a default"),
    pytest.param([JSON, HTML], "application/problem+json", PROBLEM, id="problem documents are always there"),
    pytest.param([JSON, HTML], BROWSER, HTML_UTF_8, id="a browser, with a default"),
    pytest.param([HTML, XML, PLAIN], "application/*+xml, text/plain", "text/plain; charset=utf-8", id="plain text"),
    pytest.param([HTML, XML, PLAIN], "application/problem+xml", "application/problem+xml", id="XML"),
    pytest.param([HTML, XML, PLAIN], "text/*", HTML_UTF_8, id="the first of several"),
]


@pytest.mark.parametrize(("tables", "accept", "media_type"), CHOICES)
async def test_a_client_gets_what_it_takes_best(tables, accept, media_type):
    async with serving(CONTRACTS, [shop], errors=tables) as site:
        answer = await site.raw("GET", "/nowhere", [("Accept", accept or "")] if accept else [("Accept", "*/*")])

    assert answer.status == 404
    assert answer.headers["Content-Type"] == media_type
    assert answer.headers["Vary"] == "Accept"


async def test_values_are_escaped_for_their_document():
    async with serving(CONTRACTS, [shop], errors=[JSON, HTML]) as site:
        as_json = await site.ask("GET", "/orders/1")
        as_html = await site.ask("GET", "/orders/1", headers={"Accept": "application/json;q=0.1, text/html"})

    assert (as_json.status, as_html.status) == (409, 409)
    assert json.loads(as_json.body)["header"] == {
        "isSuccessful": False,
        "resultCode": 409,
        "resultMessage": 'There is <not> enough: "<b>&\n',
    }
    assert as_html.body.decode().splitlines() == [
        "<!doctype html>",
        "<title>There is &lt;not&gt; enough</title>",
        "<h1>409 There is &lt;not&gt; enough</h1>",
        "<p>&quot;&lt;b&gt;&amp;\ufffd",
    ]


async def test_a_status_and_a_file_stand_in_place_of_ours(tmp_path):
    (tmp_path / "401.html").write_text("<p>${title}: log in</p>")
    table = {"types": ["unauthenticated"], "media_type": "text/html", "status": 404, "file": tmp_path / "401.html"}
    async with serving(CONTRACTS, [shop], errors=[table]) as site:
        page = await site.ask("DELETE", "/orders/1", headers={"Accept": "text/html"})
        problem = await site.ask("DELETE", "/orders/1")
        other = await site.ask("GET", "/nowhere", headers={"Accept": "text/html"})

    assert (page.status, page.body) == (404, b"<p>Authentication is needed: log in</p>")
    assert page.headers["WWW-Authenticate"].startswith("Bearer")
    assert (problem.status, json.loads(problem.body)["status"]) == (401, 401)
    assert other.headers["Content-Type"] == PROBLEM
    assert [(record[6], record[8]) for record in site.records] == [
        (404, "unauthenticated"),
        (401, "unauthenticated"),
        (404, "not-found"),
    ]


async def test_errors_of_the_contract_are_named_in_one_text():
    table = {"types": ["invalid-request"], "media_type": "text/plain", "template": "${errors}|${topic}|${method}"}
    async with serving(CONTRACTS, [shop], errors=[table]) as site:
        answer = await site.ask("GET", "/orders/x", headers={"Accept": "application/json;q=0.1, text/plain"})

    told, topic, method = answer.body.decode().split("|")
    assert told.startswith("id: Input should be")
    assert (topic, method) == ("shop.orders.read.v1", "GET")


BAD: list[Any] = [
    pytest.param({"template": None}, "exactly one of template and file", id="neither"),
    pytest.param({"types": []}, "at least 1", id="no types"),
    pytest.param({"template": "<p>\n<p>${name}"}, r"template, line 2: \$\{name\} is no value here", id="no such value"),
    pytest.param({"template": "${caller"}, "template, line 1: a .* has no }", id="not closed"),
    pytest.param({"template": "<a href='${type}'>"}, "line 1: values stand between tags", id="in a link"),
    pytest.param({"template": "<p title='a > b' id=\"${type}\">"}, "between tags", id="in a tag that holds a >"),
    pytest.param({"template": "<a onclick=\"if (1 > 0) say('${type}')\">"}, "between tags", id="in a script of a tag"),
    pytest.param({"template": "<script src='a'/>${type}"}, "between tags", id="in a script that only looks closed"),
    pytest.param({"template": "<!-- > ${type} -->"}, "between tags", id="in a comment"),
    pytest.param({"template": "<script>x = '</scripts>${type}'"}, "between tags", id="in a script that goes on"),
    pytest.param({"template": "<script>\nx = '${type}'"}, "line 2: values stand between tags", id="in a script"),
    pytest.param({"template": "<style></style><STYLE>${type}"}, "between tags", id="in a style"),
    pytest.param({"media_type": "application/json", "template": '{"a": ${title}}'}, "line 1: not JSON", id="no quotes"),
    pytest.param({"media_type": "application/json", "template": '{\n"a": 1,\n?}'}, "line 3: not JSON", id="no JSON"),
    pytest.param({"media_type": "application/problem+json"}, "always there", id="ours"),
    pytest.param({"media_type": "image/png"}, "must be text/html", id="no text"),
    pytest.param({"media_type": "text/html\r\nX: y"}, "must be text/html", id="two lines"),
    pytest.param({"status": 200}, "400", id="a success"),
]


def test_values_stand_wherever_a_browser_reads_text():
    template = (
        "<!DOCTYPE html><title>${status} ${title}</title><style>p { color: red }</style><p id='a > b'>${detail}<br/>"
    )

    ErrorSettings.model_validate({"types": ["*"], "media_type": "text/html", "template": template})


@pytest.mark.parametrize(("changes", "why"), BAD)
def test_a_table_that_could_not_answer_is_refused_with_its_line(changes, why):
    with pytest.raises(ValidationError, match=why):
        ErrorSettings.model_validate({"types": ["*"], "media_type": "text/html", "template": "<p>", **changes})


def test_a_bad_file_is_refused_with_its_name_and_line(tmp_path):
    (tmp_path / "e.html").write_text("<p>\n\n<b>${secret}</b>")

    with pytest.raises(ValidationError, match=r"e\.html:3: \$\{secret\} is no value here"):
        ErrorSettings.model_validate({"types": ["*"], "media_type": "text/html", "file": tmp_path / "e.html"})


def test_what_no_failure_is_called_and_another_class_of_status_are_refused():
    tables = [
        {**HTML, "types": ["unauthenticatd", "urn:problem:out-of-stock"]},
        {**HTML, "types": ["not-found"], "status": 500},
        {**HTML, "types": ["no-*", "not-found"], "status": 502},
        {**HTML, "types": ["*"], "status": 502},
    ]
    settings = EdgeSettings.model_validate({"errors": tables})

    assert faults_with(settings, Catalog([read])) == [
        "edge.errors.0: no failure is called 'unauthenticatd'",
        "edge.errors.1: the status of not-found is 404; 500 would be of another class",
        "edge.errors.2: the status of not-found is 404; 502 would be of another class",
        "edge.errors.3: the status of bad-request is 400; 502 would be of another class",
    ]


@given(value=st.text(), family=st.sampled_from(["application/json", "text/html", "text/plain", "text/xml"]))
def test_no_value_changes_the_form_of_a_document(value, family):
    template = '{"a": "${title}"}' if family == "application/json" else "<p>${title}</p>"
    table = ErrorSettings.model_validate({"types": ["*"], "media_type": family, "template": template})

    filled = table.compiled().render(dict.fromkeys(VALUES, value))

    assert filled is not None
    if family == "application/json":
        assert json.loads(filled) == {"a": value}
    elif family != "text/plain":
        assert re.findall("[<>]", filled) == ["<", ">", "<", ">"]
        assert not re.search(r"&(?!amp;|lt;|gt;|quot;|#x27;)", filled)
    else:
        assert filled.isprintable()


def test_the_page_maps_the_error_types_of_others_to_failures_that_exist():
    page = (ROOT / "docs" / "errors.md").read_text()
    rows = re.findall(r"^\| `[A-Z]\w+` \| (\d{3}) \|(.*)\|$", page, re.MULTILINE)
    known = {
        each.name for module in (refusal, failure) for each in vars(module).values() if isinstance(each, FailureKind)
    }

    assert len(rows) == 14
    named = {name for _, text in rows for name in re.findall("`([a-z-]+)`", text)}
    assert len(named) > 20
    assert named <= known


def test_every_failure_can_have_a_document():
    table = ErrorSettings.model_validate(JSON)

    assert list(document_faults([table], Catalog([read]))) == []
