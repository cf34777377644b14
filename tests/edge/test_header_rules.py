"""Headers by rule: what the operator says is there, and nothing that a client sends can add to it."""

import json
from typing import Annotated, Any
from urllib.parse import unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ValidationError
from support.site import serving

from busgate.contracts import Call, Caller, Catalog, http
from busgate.edge.context_values import Template, TemplateError
from busgate.edge.header_rules import HeaderSettings, _escape
from busgate.edge.response import header_block
from busgate.edge.security_headers import SecurityHeaderSettings
from busgate.edge.settings import EdgeSettings, faults_with
from busgate.workers import Context, Service


class Read(BaseModel):
    id: str
    tenant: Annotated[str, http.Header("X-Tenant")] = ""


class Seen(BaseModel):
    id: str
    tenant: str


read = Call("shop.orders.read.v1", http.get("/orders/{id}"), request=Read, reply=Seen)
look = Call("shop.stock.read.v1", http.get("/stock/{id}"), request=Read, reply=Seen, public=True)
shop = Service("shop")


@shop.handles(read)
async def answer(request: Read, context: Context) -> Seen:
    return Seen(id=request.id, tenant=request.tenant)


@shop.handles(look)
async def looked(request: Read, context: Context) -> Seen:
    return Seen(id=request.id, tenant=request.tenant)


class Listed(BaseModel):
    id: str
    groups: Annotated[list[str], http.Header("X-Groups")] = []


class Groups(BaseModel):
    groups: list[str]


listed = Call("shop.groups.v1", http.get("/groups/{id}"), request=Listed, reply=Groups, public=True)
lists = Service("lists")


@lists.handles(listed)
async def groups_of(request: Listed, context: Context) -> Groups:
    return Groups(groups=request.groups)


CONTRACTS: list[Call[Any, Any]] = [read, look]
SECURITY = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}


def some(headers: Any, *names: str) -> list[str | None]:
    return [headers.get(name) for name in names]


# -- security headers


@pytest.mark.parametrize(("path", "status"), [("/stock/1", 200), ("/orders/1", 401), ("/nowhere", 404), ("//", 400)])
async def test_every_answer_tells_browsers_to_do_nothing_with_it(path, status):
    async with serving(CONTRACTS, [shop]) as site:
        answer = await site.ask("GET", path)

    assert answer.status == status
    assert {name: answer.headers.get(name) for name in SECURITY} == SECURITY


async def test_what_is_no_request_is_answered_with_them_too():
    async with serving(CONTRACTS, [shop]) as site:
        head = await site.bytes(b"nonsense\r\n\r\n")

    assert b"HTTP/1.1 400" in head
    for name, value in SECURITY.items():
        assert f"\r\n{name}: {value}\r\n".encode() in head


async def test_they_can_be_changed_and_left_out():
    changed = {"content_security_policy": "sandbox", "frame_options": "", "permissions_policy": "camera=()"}
    async with serving(CONTRACTS, [shop], security_headers=changed) as site:
        headers = (await site.ask("GET", "/stock/1")).headers
        page = (await site.ask("GET", "/docs")).headers

    names = ("Content-Security-Policy", "X-Frame-Options", "Permissions-Policy")
    assert some(headers, *names) == ["sandbox", None, "camera=()"]
    assert page["Content-Security-Policy"].startswith("default-src 'none'; script-src 'self'")


@pytest.mark.parametrize(
    "table",
    [
        {"content_security_policy": "${caller}"},
        {"content_security_policy": "a\r\nb"},
        {"referrer_policy": "ä"},
        {"frame_options": "ALLOW"},
    ],
)
def test_security_headers_that_cannot_be_written_are_refused(table):
    with pytest.raises(ValidationError):
        SecurityHeaderSettings.model_validate(table)


# -- answers


async def test_headers_are_set_added_and_removed_by_path_and_topic():
    tables = [
        {"set": ["X-Robots-Tag: none"], "remove": ["X-Frame-Options"]},
        {"topics": ["shop.stock.*"], "set": ["cache-control: max-age=60"], "add": ["Link: </a>", "Link: </b>"]},
        {"paths": ["/orders/{id}"], "remove": ["x-robots-tag"]},
    ]
    async with serving(CONTRACTS, [shop], headers=tables) as site:
        stock, orders, nowhere = [(await site.ask("GET", path)).headers for path in ("/stock/1", "/orders/1", "/x")]

    names = ("X-Robots-Tag", "X-Frame-Options", "Cache-Control")
    assert some(stock, *names) == ["none", None, "max-age=60"]
    assert stock.getall("Link") == ["</a>", "</b>"]
    assert some(orders, *names) == [None, None, "no-store"]
    assert some(nowhere, *names) == ["none", None, "no-store"]


async def test_no_rule_lets_a_failure_last_in_a_cache():
    tables = [{"set": ["Cache-Control: public, max-age=60", "X-A: b"]}]
    async with serving(CONTRACTS, [shop], headers=tables) as site:
        answers = [await site.ask("GET", path) for path in ("/stock/1", "/orders/1", "/x")]

    assert [answer.status for answer in answers] == [200, 401, 404]
    assert [answer.headers["Cache-Control"] for answer in answers] == ["public, max-age=60", "no-store", "no-store"]
    assert [answer.headers["X-A"] for answer in answers] == ["b", "b", "b"]


async def test_a_cache_that_may_keep_replies_is_told_what_they_depend_on():
    """It knows of no credential but Authorization, and of no header that a contract reads."""
    settings: dict[str, Any] = {
        "headers": [{"set": ["Cache-Control: max-age=60"]}],
        "pre_call": {"topic": "auth.decide.v1", "headers": ["X-Session"]},
    }
    async with serving(CONTRACTS, [shop], **settings) as site:
        mine = await site.as_caller(Caller("ann"), "GET", "/orders/1")
        public = await site.ask("GET", "/stock/1")
        failed = await site.ask("GET", "/orders/1")

    assert [answer.headers.get("Vary") for answer in (mine, public, failed)] == [
        "authorization, x-session, x-tenant",
        "x-tenant",
        None,
    ]


async def test_values_of_the_request_stand_in_headers():
    lines = [
        "X-Who: ${caller}@${caller.issuer}",
        "X-Id: <${path.id}>",
        "X-How: ${method} ${topic}",
        "X-From: ${client.address}",
    ]
    async with serving(CONTRACTS, [shop], headers=[{"topics": ["shop.orders.*"], "set": lines}]) as site:
        answer = await site.as_caller(Caller("ann"), "GET", "/orders/%C3%A4%20b%25")
        refused = await site.ask("GET", "/orders/7")

    names = ("X-Who", "X-Id", "X-How", "X-From")
    how = "GET shop.orders.read.v1"
    assert some(answer.headers, *names) == ["ann@test", "<%C3%A4%20b%25>", how, "127.0.0.1"]
    assert some(refused.headers, *names) == [None, "<7>", how, "127.0.0.1"]


async def test_rules_for_all_answers_may_name_what_every_request_has():
    async with serving(
        CONTRACTS, [shop], headers=[{"set": ["X-Trace: ${request.id}", "X-When: ${timestamp}"]}]
    ) as site:
        answers = [await site.ask("GET", path) for path in ("/stock/1", "/x")]

    assert [answer.headers["X-Trace"] for answer in answers] == [answer.headers["X-Request-Id"] for answer in answers]
    assert all(len(answer.headers["X-When"]) == 20 for answer in answers)


async def test_a_value_ends_no_part_of_a_header():
    lines = ["Link: </orders/${path.id}>; rel=self", "Set-Cookie: seen=${path.id}; Secure"]
    async with serving(CONTRACTS, [shop], headers=[{"topics": ["shop.stock.*"], "set": lines}]) as site:
        answer = await site.ask("GET", "/stock/1%3E;%20Domain=a,%3Chttps:b%3E%22")

    value = "1%3E%3B%20Domain=a%2C%3Chttps:b%3E%22"
    assert some(answer.headers, "Link", "Set-Cookie") == [f"</orders/{value}>; rel=self", f"seen={value}; Secure"]


@given(st.text())
def test_no_value_can_end_a_header(value):
    block = header_block([("X-Value", _escape(value))])

    assert block.count(b"\r\n") == 1
    assert block.isascii()
    assert not set(block.removeprefix(b"X-Value: ").removesuffix(b"\r\n")) & set(b" \t,;\"\\<>()[]{}'&?#|")
    assert unquote(_escape(value), errors="surrogatepass") == value


# -- requests


async def test_a_contract_gets_the_header_of_the_rule_and_not_that_of_the_client():
    tables = [{"topics": ["shop.orders.*"], "request_set": ["X-Tenant: t-${caller}"]}]
    async with serving(CONTRACTS, [shop], headers=tables) as site:
        mine = await site.as_caller(Caller("ann"), "GET", "/orders/1", headers={"X-Tenant": "bob's"})
        other = await site.ask("GET", "/stock/1", headers={"X-Tenant": "bob's"})

    assert (mine.status, mine.body) == (200, b'{"id":"1","tenant":"t-ann"}')
    assert other.body == b'{"id":"1","tenant":"bob\'s"}'


@pytest.mark.parametrize("table", [{"request_remove": ["x-tenant"]}, {"request_set": ["X-Tenant: ${caller.tenant}"]}])
async def test_what_a_rule_takes_away_or_has_no_value_for_does_not_come_from_the_client(table):
    async with serving(CONTRACTS, [shop], headers=[table]) as site:
        answer = await site.ask("GET", "/stock/1", headers={"X-Tenant": "bob's"})

    assert answer.body == b'{"id":"1","tenant":""}'


async def test_a_value_of_a_rule_is_one_of_a_list():
    tables = [{"request_set": ["X-Groups: all, of-${path.id}"]}]
    async with serving([listed], [lists], headers=tables) as site:
        answer = await site.ask("GET", "/groups/1,admin%2520", headers={"X-Groups": "root"})

    assert json.loads(answer.body) == {"groups": ["all", "of-1%2Cadmin%2520"]}


# -- what is refused at start

TABLES: list[Any] = [
    pytest.param({"set": ["X-A"]}, "not like 'Name: value'", id="no colon"),
    pytest.param({"set": ["X A: b"]}, "name of a header", id="no token"),
    pytest.param({"set": ["X-A: b\r\nX-C: d"]}, "printable ASCII", id="two lines"),
    pytest.param({"set": ["X-A: ä"]}, "printable ASCII", id="not ASCII"),
    pytest.param({"add": ["X-A: "]}, "not empty", id="empty"),
    pytest.param({"remove": ["X A"]}, "name of a header", id="no name"),
    *[
        pytest.param({how: [f"{name}: 1" if how != "remove" else name]}, "edge's own", id=f"{how} {name}")
        for how in ("set", "add", "remove")
        for name in ("Connection", "transfer-encoding", "Content-Length", "Keep-Alive", "Upgrade", "TE", "Trailer")
    ],
    *[
        pytest.param({"set": [f"{name}: 1"]}, "edge's own", id=f"set {name}")
        for name in ("Date", "X-Request-Id", "Content-Type", "WWW-Authenticate", "Vary", "Access-Control-Allow-Origin")
    ],
    pytest.param({"set": ["Busgate-Mock: true"]}, "edge's own", id="internal"),
    pytest.param({"request_set": ["Connection: X"]}, "edge's own", id="hop by hop, of requests"),
]


@pytest.mark.parametrize(("table", "why"), TABLES)
def test_rules_that_must_not_be_are_refused(table, why):
    with pytest.raises(ValidationError, match=why):
        HeaderSettings.model_validate(table)


KNOWN = "known are caller, caller.issuer, caller.tenant, client.address, method, path.id, request.id, timestamp, topic"
FAULTS: list[Any] = [
    pytest.param({"set": ["X-A: ${env.HOME}"]}, f"X-A: ${{env.HOME}} is no value here; {KNOWN}", id="no such value"),
    pytest.param({"set": ["X-A: ${path.sku}"]}, f"X-A: ${{path.sku}} is no value here; {KNOWN}", id="no such variable"),
    pytest.param({"set": ["X-A: ${}"]}, f"X-A: ${{}} is no value here; {KNOWN}", id="no name"),
    pytest.param({"set": ["X-A: ${caller"]}, "X-A: a ${ has no }", id="not closed"),
    pytest.param({"set": ["X-A: ${header.Authorization}"]}, "X-A: ${header.Authorization} is no value", id="a secret"),
]


@pytest.mark.parametrize(("table", "why"), FAULTS)
def test_a_value_that_is_none_is_refused_with_its_place(table, why):
    settings = EdgeSettings.model_validate({"headers": [{"add": ["X-Fine: a"]}, table]})

    (fault,) = faults_with(settings, Catalog([look]))

    assert fault.startswith(f"edge.headers.1: {why}")


def test_a_rule_for_every_answer_names_no_variable_of_a_path():
    """Also where all contracts have it: there are answers without a contract."""
    settings = EdgeSettings.model_validate({"headers": [{"set": ["X-A: ${path.id}"]}]})

    (fault,) = faults_with(settings, Catalog([look]))

    assert fault.startswith("edge.headers.0: X-A: ${path.id} is no value here; known are caller")
    assert fault.endswith("(where there is no contract)")


def test_a_rule_for_a_header_that_no_contract_reads_is_refused():
    settings = EdgeSettings.model_validate({"headers": [{"request_set": ["X-Other: a"], "request_remove": ["X-More"]}]})

    assert faults_with(settings, Catalog([look])) == [
        "edge.headers.0: no contract that it covers reads the header X-More",
        "edge.headers.0: no contract that it covers reads the header X-Other",
    ]


@given(st.text(alphabet=st.sampled_from("${}ab.\n")))
def test_a_template_is_filled_in_or_refused(text):
    try:
        template: Template[str] = Template(text, {"a": lambda source: source, "b": lambda _: None})
    except TemplateError as error:
        assert 1 <= error.line <= text.count("\n") + 1
        return

    filled = template.render("${b}")
    assert filled == (None if "${b}" in text else text.replace("${a}", "${b}"))
    assert (template.constant is None) == ("${a}" in text or "${b}" in text)
