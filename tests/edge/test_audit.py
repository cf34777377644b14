"""One audit record for each call: complete, honest, without secrets, and in its place whatever happens to the file."""

import asyncio
import json
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ValidationError
from structlog.testing import capture_logs
from support.site import Site, serving
from support.waiting import until

from busgate.contracts import Call, Caller, Catalog, Nothing, Problem, Secret, http
from busgate.edge import audit_sinks
from busgate.edge.audit import Audit
from busgate.edge.audit_settings import AuditSettings
from busgate.edge.audit_sinks import AuditError, Backlog, Line, WriterSink
from busgate.workers import Context, Service

PATIENCE = 10.0


class Pay(BaseModel):
    account: str
    card: Annotated[str, Secret()]
    amount: int


class Paid(BaseModel):
    id: int
    receipt: Annotated[str, Secret()] = "r-1"


class Refused(Problem):
    status = 409
    hint: Annotated[str, Secret()]


class Look(BaseModel):
    token: Annotated[str, Secret()]
    number: int


pay = Call(
    "bank.pay.v1",
    http.post("/accounts/{account}/payments", status=201),
    request=Pay,
    reply=Paid,
    errors=[Refused],
    scopes={"pay"},
    audit_body=True,
)
look = Call("bank.look.v1", http.get("/looks/{token}/{number}"), request=Look, reply=Paid, public=True)
lost = Call("bank.lost.v1", http.get("/lost"), request=Nothing, reply=Paid, public=True)
bank = Service("bank")


@bank.handles(pay)
async def paid(request: Pay, context: Context) -> Paid:
    if request.amount > 100:
        raise Refused("too much", hint="ask ann")
    return Paid(id=7)


@bank.handles(look)
async def looked(request: Look, context: Context) -> Paid:
    return Paid(id=request.number)


CONTRACTS: list[Call[Any, Any]] = [pay, look]
ANN = Caller("ann", scopes=frozenset({"pay"}))
BODY = b'{"card":"4111-1111","amount":5}'


def to(path: Path, **how: Any) -> Callable[..., Audit]:
    return lambda catalog: Audit(
        catalog, WriterSink(path, kept=how.get("kept", 1 << 20), lossless=how.get("lossless", False)), name="web"
    )


async def records_of(site: Site, path: Path) -> list[dict[str, Any]]:
    """All records so far."""
    audit = site.edge.audit
    assert audit is not None
    audit.flush()
    await until(lambda: not audit.backlog.waiting, limit=PATIENCE)
    return [json.loads(line) for line in lines_of(path)]


def lines_of(path: Path) -> list[bytes]:
    return path.read_bytes().splitlines() if path.exists() else []


# -- what a record says


async def test_a_record_says_who_did_what_from_where_and_what_became_of_it(tmp_path):
    async with serving(CONTRACTS, [bank], audit=to(tmp_path / "a")) as site:
        answer = await site.as_caller(ANN, "POST", "/accounts/a%20b/payments", body=BODY)
        (record,) = await records_of(site, tmp_path / "a")

    assert answer.status == 201
    assert record.pop("timestamp").endswith("Z")
    assert record.pop("call") == answer.headers["X-Request-Id"] == record.pop("trace")
    times = [record.pop(name) for name in ("total_ms", "queue_ms", "ran_ms")]
    assert times[0] >= times[2] >= 0
    assert record == {
        "event": "audit",
        "edge": "web",
        "caller": "ann",
        "issuer": "test",
        "scheme": "jwt",
        "tenant": "",
        "address": "127.0.0.1",
        "method": "POST",
        "topic": "bank.pay.v1",
        "route": "/accounts/{account}/payments",
        "variables": {"account": "a b"},
        "decision": "allowed",
        "reason": "",
        "rule": "",
        "limits": [],
        "status": 201,
        "outcome": "executed",
        "failure": "",
        "service": "bank",
        "request_bytes": len(BODY),
        "reply_bytes": len(answer.body),
        "request": {"account": "a b", "card": "***", "amount": 5},
        "reply": {"id": 7, "receipt": "***"},
    }


async def test_bodies_are_in_a_record_only_where_the_contract_asks_and_secrets_never(tmp_path):
    async with serving(CONTRACTS, [bank], audit=to(tmp_path / "a")) as site:
        await site.ask("GET", "/looks/hush/3?x=hush", headers={"X-Hush": "hush"})
        await site.ask("GET", "/looks/hush/3")
        await site.ask("PUT", "/looks/hush/3")
        await site.as_caller(ANN, "POST", "/accounts/a/payments", body=b'{"card":"hush","amount":101}')
        unknown, allowed, unrouted, problem = await records_of(site, tmp_path / "a")

    assert "hush" not in (tmp_path / "a").read_text()
    assert unknown["status"] == 422
    assert allowed["variables"] == {"token": "***", "number": "3"}
    assert "request" not in allowed
    assert unrouted["path"] == "/looks/***"
    assert problem["failure"] == "urn:problem:refused"
    assert (problem["reply"]["detail"], problem["reply"]["hint"]) == ("too much", "***")


REFUSED: list[Any] = [
    pytest.param("GET", "/nowhere?q=1", {}, 404, "not-found", "There is nothing here", id="no route"),
    pytest.param("PUT", "/accounts/a/payments", {}, 405, "method-not-allowed", "This method", id="no such method"),
    pytest.param("POST", "/accounts/a/payments", {}, 401, "unauthenticated", "no credential", id="no token"),
    pytest.param(
        *("POST", "/accounts/a/payments", {"Authorization": "Bearer hush"}, 401, "unauthenticated", "not three parts"),
        id="a bad token",
    ),
    pytest.param("GET", "/looks/t/x", {}, 422, "invalid-request", "number: Input should be", id="not of the contract"),
    pytest.param("GET", "/looks/t/3?hush", {}, 422, "invalid-request", "This parameter is not", id="of no contract"),
    pytest.param("GET", "/looks/t/3", {"Accept": "text/html"}, 406, "not-acceptable", "Only application", id="no JSON"),
    pytest.param("GET", "/accounts", {"X_Y": "1"}, 400, "bad-request", "a header name", id="the front door"),
]


@pytest.mark.parametrize(("method", "path", "headers", "status", "failure", "reason"), REFUSED)
async def test_a_refusal_is_recorded_with_its_reason(tmp_path, method, path, headers, status, failure, reason):
    async with serving(CONTRACTS, [bank], audit=to(tmp_path / "a")) as site:
        answer = await site.ask(method, path, headers=headers)
        (record,) = await records_of(site, tmp_path / "a")

    assert (answer.status, record["status"]) == (status, status)
    assert (record["decision"], record["failure"], record["outcome"]) == ("refused", failure, "not_executed")
    assert record["reason"].startswith(reason)
    assert record.get("path") == (None if record["topic"] else path.partition("?")[0])
    assert "hush" not in json.dumps(record)


IS_ANN = {"callers": [{"issuer": "test", "subject": "ann"}]}
CLERKS = {"roles": ["clerk"], "addresses": ["10.0.0.0/8", "127.0.0.1"]}
AFAR = {"addresses": ["10.0.0.0/8"]}
NO_MATCH = "rules allow some of this contract, and none of them matches: "
RULES: list[Any] = [
    pytest.param([], ANN, 201, "", "", id="no rule"),
    pytest.param([], Caller("bob"), 403, "", "the contract asks for scopes that the caller lacks: pay", id="no scope"),
    pytest.param([("yes", "allow", IS_ANN)], ANN, 201, "yes", "", id="allowed"),
    pytest.param([("all", "allow", {})], ANN, 201, "all", "", id="all are allowed"),
    pytest.param([("no", "deny", IS_ANN)], ANN, 403, "no", "the rule no denies it", id="denied"),
    pytest.param([("clerks", "allow", CLERKS)], ANN, 403, "", NO_MATCH + "clerks (roles)", id="another role"),
    pytest.param([("far", "allow", AFAR)], ANN, 403, "", NO_MATCH + "far (addresses)", id="another address"),
]


@pytest.mark.parametrize(("rules", "caller", "status", "rule", "reason"), RULES)
async def test_a_record_names_the_rule_that_decided_and_what_was_missing_and_the_client_is_not_told(
    tmp_path, rules, caller, status, rule, reason
):
    access = [{"name": name, "effect": effect, "topics": ["bank.pay.*"], **more} for name, effect, more in rules]
    async with serving(CONTRACTS, [bank], audit=to(tmp_path / "a"), access=access) as site:
        answer = await site.as_caller(caller, "POST", "/accounts/a/payments", body=BODY)
        (record,) = await records_of(site, tmp_path / "a")

    assert (answer.status, record["rule"], record["reason"]) == (status, rule, reason)
    assert status == 201 or "detail" not in json.loads(answer.body)


async def test_a_rule_that_lets_anybody_in_from_an_address_is_named_where_nobody_is_known(tmp_path):
    here = {"name": "here", "effect": "allow", "topics": ["bank.look.*"], "addresses": ["127.0.0.0/8"]}
    async with serving(CONTRACTS, [bank], audit=to(tmp_path / "a"), access=[here]) as site:
        await site.ask("GET", "/looks/t/3")
        (record,) = await records_of(site, tmp_path / "a")

    assert (record["decision"], record["rule"], record["caller"]) == ("allowed", "here", "")


async def test_a_record_names_the_limits_that_refused_beside_the_rule_that_let_the_caller_in(tmp_path):
    rates = [
        {"name": name, "by": ["caller"], "count": count, "window": 3600, "burst": 1}
        for name, count in (("few", 2), ("many", 100))
    ]
    rule = {"name": "yes", "effect": "allow", "topics": ["bank.pay.*"]}
    async with serving(CONTRACTS, [bank], audit=to(tmp_path / "a"), access=[rule], rate=rates) as site:
        for _ in range(2):
            await site.as_caller(ANN, "POST", "/accounts/a/payments", body=BODY)
        let_in, refused = await records_of(site, tmp_path / "a")

    assert (let_in["decision"], let_in["limits"]) == ("allowed", [])
    assert (refused["status"], refused["rule"], refused["limits"]) == (429, "yes", ["few", "many"])


async def test_a_call_that_nobody_serves_was_let_in(tmp_path):
    async with serving([lost], audit=to(tmp_path / "a")) as site:
        await site.ask("GET", "/lost")
        (record,) = await records_of(site, tmp_path / "a")

    assert (record["decision"], record["failure"], record["status"]) == ("allowed", "no-route", 503)


async def test_documentation_is_no_call(tmp_path):
    async with serving(CONTRACTS, audit=to(tmp_path / "a")) as site:
        assert (await site.ask("GET", "/openapi.json")).status == 200
        assert await records_of(site, tmp_path / "a") == []


class Kept:
    """A sink that keeps everything, for the lines themselves."""

    def __init__(self) -> None:
        self.body_limit = 1000
        self.backlog = Backlog(1 << 30, lossless=True, wake=lambda: None)

    async def start(self) -> None: ...

    async def close(self) -> None: ...


@given(texts=st.lists(st.text(max_size=300), min_size=6, max_size=6))
def test_no_text_of_others_forges_a_line_or_leaves_ascii(texts):
    async def line_of() -> Line:
        audit = Audit(Catalog([look]), Kept(), name=texts[0])
        caller = Caller(texts[1], texts[2], tenant=texts[3])
        # fmt: off
        note = (
            1.0, 0.1, b"0" * 32, b"", caller, "jwt", "::1", texts[4], "", texts[5], (), True, texts[5],
            texts[4], texts[5:], 404, "not_executed", texts[4], texts[5], None, 0.5, 3, 4, b"", b"",
        )
        # fmt: on
        return audit._line(note, "2026-01-31T12:00:00", 1)

    _, line = asyncio.run(line_of())

    assert line.isascii()
    assert line.count(b"\n") == 1
    record = json.loads(line)
    assert (record["edge"], record["caller"], record["issuer"], record["tenant"]) == tuple(texts[:4])


async def test_a_body_that_is_too_long_for_a_record_is_told_by_its_length(tmp_path):
    async with serving(CONTRACTS, [bank], audit=to(tmp_path / "a")) as site:
        assert site.edge.audit is not None
        site.edge.audit.sink.body_limit = 10
        await site.as_caller(ANN, "POST", "/accounts/a/payments", body=BODY)
        (record,) = await records_of(site, tmp_path / "a")

    assert record["request"] == f"({len(BODY) + len(b'_account_:_a_,')} bytes)"


# -- where records go


@pytest.fixture(autouse=True)
def _no_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audit_sinks, "RETRY_EVERY", 0.01)
    monkeypatch.setattr(audit_sinks, "CLOSE_WAIT", 0.5)


async def test_lines_are_added_to_a_file_that_not_everybody_may_read(tmp_path):
    path = tmp_path / "a"
    for line in (b"one\n", b"two\n"):
        sink = WriterSink(path, kept=1 << 20, lossless=False)
        await sink.start()
        sink.backlog.put([(False, line)])
        await sink.close()

    assert path.read_bytes() == b"one\ntwo\n"
    assert path.stat().st_mode & 0o007 == 0


async def test_a_file_that_was_rotated_away_is_opened_anew(tmp_path):
    path, old = tmp_path / "a", tmp_path / "a.1"
    sink = WriterSink(path, kept=1 << 20, lossless=True)
    await sink.start()
    sink.backlog.put([(False, b"one\n")])
    await until(lambda: lines_of(path) == [b"one"], limit=PATIENCE)

    path.rename(old)
    sink.backlog.put([(False, b"two\n")])
    await until(lambda: lines_of(path) == [b"two"], limit=PATIENCE)
    path.unlink()
    path.touch()
    sink.backlog.put([(False, b"three\n")])
    await sink.close()

    assert (old.read_bytes(), path.read_bytes()) == (b"one\n", b"three\n")


async def test_a_file_that_cannot_be_written_stops_the_start(tmp_path):
    sink = WriterSink(tmp_path / "nowhere" / "a", kept=1 << 20, lossless=False)

    with pytest.raises(AuditError, match="nowhere/a cannot be written: No such file"):
        await sink.start()
    await sink.close()


async def test_what_a_full_disk_tears_is_written_again_whole(tmp_path, monkeypatch):
    path, write = tmp_path / "a", os.write
    room = [7, 0]

    def full(fd: int, text: bytes) -> int:
        if threading.current_thread().name != "audit writer" or not room:
            return write(fd, text)
        left = room.pop(0)
        if not left:
            raise OSError(28, "No space left on device")
        return write(fd, text[:left])

    monkeypatch.setattr(os, "write", full)
    sink = WriterSink(path, kept=1 << 20, lossless=False)
    await sink.start()
    with capture_logs() as logs:
        sink.backlog.put([(False, b"one\n"), (False, b"second\n"), (False, b"third\n")])
        await until(lambda: not sink.backlog.waiting, limit=PATIENCE)
        await sink.close()

    assert path.read_bytes() == b"one\nsec\nsecond\nthird\n"
    assert [(log["log_level"], log.get("error")) for log in logs] == [
        ("error", "No space left on device"),
        ("info", None),
    ]
    assert (sink.backlog.written, sink.backlog.dropped, sink.backlog.failing) == (3, 0, None)


async def test_what_was_never_written_is_counted_and_told_at_the_end(tmp_path):
    path = tmp_path / "folder" / "a"
    path.parent.mkdir()
    sink = WriterSink(path, kept=1 << 20, lossless=True)
    await sink.start()
    path.unlink()
    path.parent.rmdir()

    with capture_logs() as logs:
        sink.backlog.put([(False, b"one\n"), (True, b"two\n")])
        await until(lambda: sink.backlog.failing, limit=PATIENCE)
        await sink.close()

    assert sink.backlog.dropped == 2
    assert logs[-1]["event"] == "audit records were lost at the end of the process"
    assert logs[-1]["count"] == 2


# -- loss


def test_counted_losses_are_what_did_not_fit():
    backlog = Backlog(10, lossless=False, wake=lambda: None)

    backlog.put([(False, b"12345\n"), (False, b"12345\n"), (False, b"12345\n")])

    assert (backlog.waiting, backlog.dropped) == (12, 1)


async def test_calls_are_refused_rather_than_not_recorded(tmp_path):
    blocked = tmp_path / "folder"
    blocked.mkdir()
    async with serving(CONTRACTS, [bank], audit=to(blocked / "a", kept=1000, lossless=True)) as site:
        audit = site.edge.audit
        assert audit is not None
        (blocked / "a").unlink()
        blocked.rename(tmp_path / "away")
        for _ in range(3):
            assert (await site.ask("GET", "/looks/t/1")).status == 200
        audit.flush()
        assert audit.backlog.full

        refused = await site.ask("GET", "/looks/t/2")
        nowhere = await site.ask("GET", "/nowhere")
        unready = audit.unready
        (tmp_path / "away").rename(blocked)
        records = await records_of(site, blocked / "a")
        served = await site.ask("GET", "/looks/t/4")

    assert refused.status == 503
    assert refused.headers["Retry-After"] == "1"
    assert json.loads(refused.body)["type"] == "urn:busgate:audit-unavailable"
    assert json.loads(refused.body)["outcome"] == "not_executed"
    assert unready == "audit records cannot be written"
    assert nowhere.status == 404
    assert [record["variables"]["number"] for record in records] == ["1", "1", "1"]
    assert audit.backlog.dropped == 2  # what was refused meanwhile
    assert served.status == 200


@pytest.mark.parametrize(
    ("table", "why"),
    [
        ({"to": "file"}, "go together"),
        ({"to": "stdout", "file": "a"}, "go together"),
        ({"to": "syslog"}, "exchange"),
        ({"to": "file", "file": "no/such/folder"}, "no folder"),
        ({"to": "file", "file": "/"}, "not a file"),
        ({"to": "stdout", "buffer": 1}, "65536"),
        ({"to": "stdout", "loss": "always"}, "never"),
    ],
)
def test_settings_that_cannot_be_meant_are_refused(table, why):
    with pytest.raises(ValidationError, match=why):
        AuditSettings.model_validate(table)
