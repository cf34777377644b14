"""What nobody should write into the tables of limits, and what nobody should send: each row says what must happen."""

import pytest
from pydantic import BaseModel, ValidationError

from busgate.contracts import Call, Catalog, http
from busgate.edge import EdgeSettings
from busgate.edge.settings import faults_with


class Read(BaseModel):
    id: str


read = Call("shop.things.read.v1", http.get("/things/{id}"), request=Read, reply=Read)
ISSUER = {"issuer": "me", "audience": ["shop"], "keys": [{"secret": "x" * 32}], "claims": ["plan"]}

GOOD = {"name": "each", "count": 10, "window": 60}
BAD_RATES = {
    "R01 no requests": ({"count": 0}, "greater than or equal to 1"),
    "R02 less than none": ({"count": -1}, "greater than or equal to 1"),
    "R03 more than can be counted": ({"count": 10**9 + 1}, "less than or equal to 1000000000"),
    "R04 half a request": ({"count": 1.5}, "valid integer"),
    "R05 a truth": ({"count": True}, "must be a number"),
    "R06 not a number": ({"count": "nan"}, "valid integer"),
    "R07 no time": ({"window": 0}, "greater than or equal to 1"),
    "R08 time that runs back": ({"window": -60}, "greater than or equal to 1"),
    "R09 part of a second": ({"window": 0.5}, "valid integer"),
    "R10 more than a year": ({"window": 366 * 86400 + 1}, "less than or equal to"),
    "R11 endless time": ({"window": float("inf")}, "finite number|valid integer"),
    "R12 no burst": ({"burst": 0}, "greater than or equal to 1"),
    "R13 a burst beyond the count": ({"burst": 11}, "burst is more than count"),
    "R14 a burst that takes ages to come back": (
        {"count": 10**9, "window": 60, "burst": 10**9},
        "more than a year to come back",
    ),
    "R15 no name": ({"name": ""}, "at least 1 character"),
    "R16 a name that breaks a header": ({"name": 'a"\r\nX: y'}, "should match pattern"),
    "R17 a long name": ({"name": "x" * 65}, "at most 64 characters"),
    "R18 a name with NUL": ({"name": "a\x00b"}, "should match pattern"),
    "R19 nothing to count by": ({"by": ["colour"]}, "'colour' is nothing to count by"),
    "R20 a header without a name": ({"by": ["header:"]}, "nothing to count by"),
    "R21 what is no header": ({"by": ["header:X Tenant"]}, "not the name of a header"),
    "R22 a header with NUL": ({"by": ["header:X\x00"]}, "not the name of a header"),
    "R23 a header outside ASCII": ({"by": ["header:Ten\u00e4nt"]}, "not the name of a header"),
    "R24 a header that is never let in": ({"by": ["header:x_tenant"]}, "never let in"),
    "R25 a path variable without a name": ({"by": ["path:"]}, "nothing to count by"),
    "R26 one thing twice": ({"by": ["caller", "caller"]}, "by one thing twice"),
    "R27 one header twice": ({"by": ["header:X-A", "header:x-a"]}, "by one thing twice"),
    "R28 a word of nobody": ({"limit": 5}, "Extra inputs"),
    "R29 an empty word": ({"by": [""]}, "nothing to count by"),
}
BAD_TABLES = {
    "Q01 a quota by the week": ({"quota": [{"name": "q", "count": 1, "per": "week"}]}, "'day' or 'month'"),
    "Q02 a quota of nothing": ({"quota": [{"name": "q", "count": 0, "per": "day"}]}, "greater than or equal to 1"),
    "Q03 a quota without a period": ({"quota": [{"name": "q", "count": 1}]}, "Field required"),
    "C01 no places": ({"concurrent": [{"name": "c", "count": 0}]}, "greater than or equal to 1"),
    "C02 too many places": ({"concurrent": [{"name": "c", "count": 10**6 + 1}]}, "less than or equal to 1000000"),
    "P01 a plan of nothing": ({"plan": [{"name": "p", "default": True}]}, "it has no limit"),
    "P02 two rates of one window": (
        {"plan": [{"name": "p", "rate": [{"count": 1, "window": 1}, {"count": 2, "window": 1}]}]},
        "have one window",
    ),
    "P03 two quotas of one period": (
        {"plan": [{"name": "p", "quota": [{"count": 1, "per": "day"}, {"count": 2, "per": "day"}]}]},
        "one period",
    ),
    "P04 a claim without values": (
        {"plan": [{"name": "p", "concurrent": 1, "claims": [{"name": "plan", "values": []}]}]},
        "at least 1 item",
    ),
}
FAULTS = {
    "F01 a topic that no contract has": ({"rate": [GOOD | {"topics": ["shop.orders.*"]}]}, "which no contract is like"),
    "F02 a path that no contract has": ({"rate": [GOOD | {"paths": ["/nowhere"]}]}, "which no contract is like"),
    "F03 a variable that the path has not": (
        {"rate": [GOOD | {"by": ["path:tenant"]}]},
        "edge.rate: each: the path of shop.things.read.v1 (/things/{id}) has no variable 'tenant'",
    ),
    "F04 two of one name": ({"rate": [GOOD], "quota": [{"name": "each", "count": 1, "per": "day"}]}, "name each"),
    "F05 a name that a plan gives": (
        {"rate": [GOOD | {"name": "gold-60s"}], "plan": [{"name": "gold", "rate": [{"count": 1, "window": 60}]}]},
        "two limits or plans have the name gold-60s",
    ),
    "F06 two defaults": (
        {"plan": [{"name": name, "default": True, "concurrent": 1} for name in ("a", "b")]},
        "edge.plan: two plans are the default",
    ),
    "F09 a claim that is not read": (
        {"rate": [GOOD | {"by": ["claim:team"]}]},
        "by the claim 'team', which no issuer lets through",
    ),
    "F10 a plan by a claim that is not read": (
        {"plan": [{"name": "p", "concurrent": 1, "claims": [{"name": "team", "values": ["a"]}]}]},
        "by the claim 'team', which no issuer lets through",
    ),
    "F07 processes that count on their own": (
        {"rate": [GOOD], "processes": 2},
        '2 processes would each count edge.rate on their own in memory://; use url = "sqlite://',
    ),
    "F08 the same with plans and quotas": (
        {
            "quota": [{"name": "q", "count": 1, "per": "day"}],
            "plan": [{"name": "p", "rate": [{"count": 1, "window": 1}]}],
            "processes": 4,
        },
        "edge.quota and edge.plan on their own",
    ),
}
BAD_STORES = {
    "S01 nothing": ({"url": ""}, "must not be empty"),
    "S02 another database": ({"url": "postgres://user:pass-word@host/db"}, "must be memory://, sqlite"),
    "S03 memory of somewhere": ({"url": "memory://here"}, "must be memory://, sqlite"),
    "S04 a file without a folder": ({"url": "sqlite:///nowhere/at/all.db"}, "there is no folder /nowhere/at"),
    "S05 a file from here": ({"url": "sqlite://store.db"}, "must be like sqlite:///var"),
    "S06 a folder": ({"url": "sqlite:///tmp"}, "is not a file"),
    "S07 options": ({"url": "sqlite:///tmp/a.db?mode=ro"}, "must be like sqlite:///var"),
    "S08 NUL": ({"url": "sqlite:///tmp/a\x00.db"}, "must be like sqlite:///var"),
    "S09 redis without TLS far away": ({"url": "redis://:pass-word@cache.example:6379"}, "is spoken to by rediss://"),
    "S10 redis nowhere": ({"url": "redis://"}, "must be like redis://"),
    "S11 redis with options that weaken it": ({"url": "rediss://h?ssl_cert_reqs=none"}, "must be like redis://"),
    "S12 two passwords": ({"url": "redis://:a@localhost", "password": "pass-word"}, "in url and in password"),
    "S13 a password for memory": ({"password": "pass-word"}, "go with redis://"),
    "S14 authorities without TLS": ({"url": "redis://localhost", "cafile": __file__}, "cafile goes with rediss"),
    "S15 authorities that are none": ({"url": "rediss://h", "cafile": __file__}, "does not hold certificates"),
    "S16 another wish": ({"when_unavailable": "maybe"}, "'refuse' or 'allow'"),
    "S17 a prefix with a space": ({"prefix": "a b"}, "should match pattern"),
}


@pytest.mark.parametrize(("bad", "why"), BAD_RATES.values(), ids=BAD_RATES)
def test_a_rate_that_is_none_is_refused(bad, why):
    with pytest.raises(ValidationError, match=why):
        EdgeSettings.model_validate({"rate": [GOOD | bad]})


@pytest.mark.parametrize(("bad", "why"), BAD_TABLES.values(), ids=BAD_TABLES)
def test_a_table_that_is_none_is_refused(bad, why):
    with pytest.raises(ValidationError, match=why):
        EdgeSettings.model_validate(bad)


@pytest.mark.parametrize(("bad", "why"), BAD_STORES.values(), ids=BAD_STORES)
def test_a_store_that_is_none_is_refused_without_its_password(bad, why):
    with pytest.raises(ValidationError) as caught:
        EdgeSettings.model_validate({"store": bad})

    assert why in str(caught.value)
    assert "pass-word" not in str(caught.value)


@pytest.mark.parametrize(("bad", "why"), FAULTS.values(), ids=FAULTS)
def test_limits_that_do_not_go_with_the_contracts_are_told(bad, why):
    settings = EdgeSettings.model_validate({"jwt": [ISSUER]} | bad)

    (fault,) = faults_with(settings, Catalog([read]))
    assert why in fault


def test_a_store_that_everyone_can_read_is_refused(tmp_path):
    path = tmp_path / "store.db"
    path.touch(0o644)

    with pytest.raises(ValidationError, match="can be read by everyone; chmod o-rw it"):
        EdgeSettings.model_validate({"store": {"url": f"sqlite://{path}"}})


@pytest.mark.parametrize(
    "good",
    [
        {"rate": [GOOD | {"count": 1}]},
        {"rate": [GOOD | {"count": 10**9, "window": 1}]},
        {"rate": [GOOD | {"by": []}]},
        {"rate": [GOOD | {"by": ["path:id", "header:X-A", "claim:plan", "contract", "address", "tenant"]}]},
        {"rate": [GOOD], "processes": 4, "store": {"url": "redis://localhost"}},
        {"rate": [GOOD], "processes": 4, "store": {"url": "sqlite:////tmp/busgate-test-store.db"}},
        {"concurrent": [{"name": "c", "count": 1}], "processes": 4},
        {"store": {"url": "redis://cache.example", "allow_plaintext": True}},
        {"store": {"url": "rediss://cache.example", "password": "pass-word"}},
    ],
)
def test_what_can_be_meant_is_taken(good):
    settings = EdgeSettings.model_validate({"jwt": [ISSUER]} | good)

    assert faults_with(settings, Catalog([read])) == []
