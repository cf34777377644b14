"""Access rules: what they allow and deny, to whom, from where."""

import ipaddress
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from pydantic import BaseModel, ValidationError

from busgate.contracts import Call, Caller, Catalog, http
from busgate.edge.access import REMEMBERED, Access
from busgate.edge.access_rules import AcceptRule, AccessRule, accepted
from busgate.edge.networks import network
from busgate.edge.settings import EdgeSettings, faults_with
from busgate.edge.testing import ISSUER, HttpHarness
from busgate.workers import Context, Service
from busgate.workers.testing import Harness


class Empty(BaseModel):
    pass


def contract(topic: str = "shop.orders.list.v1", path: str = "/orders", **settings: Any) -> Call[Empty, Empty]:
    return Call(topic, http.get(path), request=Empty, reply=Empty, **settings)


ANN = Caller("ann", "https://one", frozenset({"read", "write"}), {}, frozenset({"staff"}), "north")
HERE = "10.1.2.3"


@dataclass
class Row:
    """Rules, and what they come to for ann at 10.1.2.3 who calls shop.orders.list.v1, or for somebody else."""

    id: str
    rules: list[dict[str, Any]]
    allowed: bool
    rule: str = ""
    caller: Caller = ANN
    address: str = HERE
    default: str = "contract"
    call: dict[str, Any] = field(default_factory=dict)


def allow(**conditions: Any) -> dict[str, Any]:
    return {"name": "yes", "effect": "allow"} | conditions


def deny(**conditions: Any) -> dict[str, Any]:
    return {"name": "no", "effect": "deny"} | conditions


ROWS = [
    Row("no-rule", [], True),
    Row("no-rule-and-closed-by-default", [], False, default="deny"),
    Row("allowed-where-closed-by-default", [allow()], True, "yes", default="deny"),
    Row("scopes-of-the-contract-first", [allow()], False, call={"scopes": {"admin"}}),
    Row("scopes-of-the-contract", [allow()], True, "yes", call={"scopes": {"read"}}),
    Row("caller", [allow(callers=[{"issuer": "https://one", "subject": "ann"}])], True, "yes"),
    Row("same-subject-of-another-issuer", [allow(callers=[{"issuer": "https://two", "subject": "ann"}])], False),
    Row("same-subject-of-no-issuer", [allow(callers=[{"subject": "ann"}])], False),
    Row("subject-in-another-case", [allow(callers=[{"issuer": "https://one", "subject": "Ann"}])], False),
    Row("any-of-an-issuer", [allow(callers=[{"issuer": "https://one"}])], True, "yes"),
    Row("any-of-no-issuer", [allow(callers=[{}])], False),
    Row("caller-of-no-issuer", [allow(callers=[{"subject": "key"}])], True, "yes", caller=Caller("key")),
    Row("one-of-the-roles", [allow(roles=["boss", "staff"])], True, "yes"),
    Row("none-of-the-roles", [allow(roles=["boss"])], False),
    Row("part-of-a-role", [allow(roles=["sta"])], False),
    Row("all-of-the-scopes", [allow(scopes=["read", "write"])], True, "yes"),
    Row("not-all-of-the-scopes", [allow(scopes=["read", "admin"])], False),
    Row("tenant", [allow(tenants=["north"])], True, "yes"),
    Row("other-tenant", [allow(tenants=["south"])], False),
    Row("no-tenant-is-no-wildcard", [allow(tenants=["north"])], False, caller=Caller("bob")),
    Row("all-conditions-must-hold", [allow(roles=["staff"], tenants=["south"])], False),
    Row("address", [allow(addresses=["10.0.0.0/8"])], True, "yes"),
    Row("other-address", [allow(addresses=["192.168.0.0/16"])], False),
    Row("single-address", [allow(addresses=["10.1.2.3"])], True, "yes"),
    Row("neighbour", [allow(addresses=["10.1.2.4"])], False),
    Row("six", [allow(addresses=["2001:db8::/32"])], True, "yes", address="2001:db8:1::7"),
    Row("six-is-not-four", [allow(addresses=["::/0"])], False),
    Row("mapped-is-four", [allow(addresses=["10.0.0.0/8"])], True, "yes", address="::ffff:10.1.2.3"),
    Row("mapped-is-four-for-deny", [deny(addresses=["10.0.0.0/8"])], False, "no", address="::ffff:10.1.2.3"),
    Row("zone", [allow(addresses=["fe80::/10"])], True, "yes", address="fe80::1%eth0"),
    Row("unknown-address-is-nowhere", [allow(addresses=["0.0.0.0/0"])], False, address=""),
    Row("address-that-is-none", [allow(addresses=["0.0.0.0/0"])], False, address="unknown"),
    Row("deny-wins", [allow(), deny(roles=["staff"])], False, "no"),
    Row("deny-wins-wherever-it-stands", [deny(roles=["staff"]), allow()], False, "no"),
    Row("deny-that-does-not-match", [deny(roles=["boss"])], True),
    Row("deny-by-address", [deny(addresses=["10.1.2.0/24"])], False, "no"),
    Row("deny-by-another-address", [deny(addresses=["11.0.0.0/8"])], True),
    Row("deny-by-an-unknown-address", [deny(addresses=["11.0.0.0/8"])], False, "no", address=""),
    Row("deny-by-an-address-that-is-none", [deny(addresses=["11.0.0.0/8"])], False, "no", address="unknown"),
    Row("deny-by-an-unknown-address-and-role", [deny(addresses=["11.0.0.0/8"], roles=["boss"])], True, address=""),
    Row("deny-by-address-and-role", [deny(addresses=["10.1.2.0/24"], roles=["boss"])], True),
    Row("switched-off", [deny(topics=["shop.orders.*"])], False, "no"),
    Row("of-other-topics", [deny(topics=["shop.stock.*"])], True),
    Row("of-other-paths", [deny(paths=["/stock/*"])], True),
    Row("by-path", [deny(paths=["/ord*"])], False, "no"),
    Row("by-topic-or-path", [deny(topics=["other.v1"], paths=["/orders"])], False, "no"),
    Row("first-that-allows-is-named", [allow(roles=["boss"]), {**allow(), "name": "second"}], True, "second"),
    Row("public", [deny(roles=["staff"])], True, call={"public": True}),
    Row("public-from-here", [allow(addresses=["10.0.0.0/8"])], True, "yes", call={"public": True}),
    Row("public-from-there", [allow(addresses=["11.0.0.0/8"])], False, call={"public": True}),
    Row("public-for-a-role-is-for-nobody", [allow(roles=["staff"])], False, call={"public": True}),
]


def access(rules: list[dict[str, Any]], default: str = "contract", **call: Any) -> Access:
    tables = [AccessRule.model_validate(rule) for rule in rules]
    return Access(contract(**call), tables, default)  # type: ignore[arg-type] # a text of the row


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.id)
def test_rules_decide(row: Row) -> None:
    decision = access(row.rules, row.default, **row.call).decide(row.caller, row.address)

    assert (decision.allowed, decision.rule) == (row.allowed, row.rule)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.id)
def test_what_is_refused_at_the_door_would_be_refused_later_too(row: Row) -> None:
    rules = access(row.rules, row.default, **row.call)

    denied = rules.at_the_door(row.address)

    assert denied is None or not row.allowed


@pytest.mark.parametrize(
    ("rules", "refused"),
    [
        ([deny(addresses=["10.0.0.0/8"])], True),
        ([allow(addresses=["11.0.0.0/8"])], True),
        ([allow(addresses=["11.0.0.0/8"], roles=["staff"])], True),
        ([allow(addresses=["11.0.0.0/8"]), allow(roles=["staff"])], False),
        ([deny(addresses=["10.0.0.0/8"], roles=["staff"])], False),
        ([deny(roles=["staff"])], False),
    ],
)
def test_what_the_address_alone_decides_is_decided_at_the_door(rules: list[dict[str, Any]], refused: bool) -> None:
    assert (access(rules).at_the_door(HERE) is not None) == refused


addresses = st.ip_addresses(v=4) | st.ip_addresses(v=6)


@given(addresses, st.integers(0, 128))
def test_an_address_is_in_its_own_network_of_any_size_and_not_in_the_one_beside(address: Any, bits: int) -> None:
    around = ipaddress.ip_network(f"{address}/{min(bits, address.max_prefixlen)}", strict=False)
    assume(getattr(address, "ipv4_mapped", None) is None)  # those are IPv4
    assume(getattr(around.network_address, "ipv4_mapped", None) is None)
    beside = around.network_address - 1 if int(around.network_address) else None

    rules = access([allow(addresses=[str(around)])])

    assert rules.decide(ANN, str(address)).allowed
    assert beside is None or not rules.decide(ANN, str(beside)).allowed


def test_what_addresses_are_remembered_is_bounded() -> None:
    rules = access([allow(addresses=["10.0.0.0/8"])])

    for number in range(REMEMBERED + 10):
        rules.decide(ANN, str(ipaddress.ip_address(number)))

    assert len(rules._known) == REMEMBERED


@pytest.mark.parametrize(
    "text",
    [
        "",
        "10.0.0.1/8",
        "10.0.0.0/33",
        "10.0.0",
        "010.0.0.0/8",
        "host",
        "::ffff:10.0.0.0/104",
        "10.0.0.0/-1",
        "2001:db8::/129",
        "10.0.0.0/8 ",
    ],
)
def test_what_is_no_network_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="network"):
        network(text)


@pytest.mark.parametrize(
    "rule",
    [
        {"effect": "allow"},
        {"name": "a b", "effect": "allow"},
        {"name": "a", "effect": "maybe"},
        {"name": "a", "effect": "deny"},
        {"name": "a", "effect": "allow", "addresses": ["office"]},
        {"name": "a", "effect": "allow", "callers": ["ann"]},
        {"name": "a", "effect": "allow", "callers": [{"subject": ""}]},
        {"name": "a", "effect": "allow", "role": ["staff"]},
    ],
)
def test_rules_that_are_none_are_refused(rule: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        AccessRule.model_validate(rule)


def settings(**tables: Any) -> EdgeSettings:
    issuer = {"issuer": "i", "audience": ["a"], "keys": [{"secret": "s" * 32}]}
    return EdgeSettings.model_validate({"jwt": [issuer]} | tables)


def test_rules_about_nothing_are_told() -> None:
    tables = settings(
        access=[deny(topics=["shop.oders.*"]), {**allow(paths=["/orders", "/stock"]), "name": "b"}],
        accept=[{"topics": ["x.v1"], "schemes": ["jwt"]}],
    )

    assert faults_with(tables, Catalog([contract()])) == [
        "edge.access: the rule no is about 'shop.oders.*', which no contract is like",
        "edge.access: the rule b is about '/stock', which no contract is like",
        "edge.accept.0: about 'x.v1', which no contract is like",
    ]


def test_two_rules_of_one_name_are_refused() -> None:
    with pytest.raises(ValidationError, match="one name"):
        settings(access=[allow(), allow()])


def test_schemes_are_narrowed_by_the_contract_and_by_every_rule_for_it() -> None:
    configured = {"jwt", "key", "signature"}
    rules = [AcceptRule(topics=("shop.*",), schemes=("jwt", "key")), AcceptRule(paths=("/orders",), schemes=("key",))]

    assert accepted(contract(), rules, configured) == {"key"}
    assert accepted(contract("a.v1", "/a"), rules, configured) == configured
    assert accepted(contract(schemes={"jwt", "signature"}), rules[:1], configured) == {"jwt"}


def test_a_contract_that_nobody_can_prove_anything_to_and_schemes_that_are_none_are_faults() -> None:
    tables = settings(accept=[{"schemes": ["key", "password"]}])

    assert faults_with(tables, Catalog([contract()])) == [
        "edge.accept.0: no scheme 'password'; there are: certificate, introspection, jwt, key, pre-call, signature",
        "contract shop.orders.list.v1: none of its schemes is configured here; those are: jwt",
    ]


# -- over HTTP


class Where(BaseModel):
    name: str


look = Call("test.look.v1", http.get("/look/{name}"), request=Where, reply=Where)
lobby = Call("test.lobby.v1", http.get("/lobby/{name}"), request=Where, reply=Where, public=True)
rooms = Service("rooms")


@rooms.handles(look)
@rooms.handles(lobby)
async def entered(request: Where, context: Context) -> Where:
    return request


async def statuses(*rules: dict[str, Any], caller: Caller | None = ANN) -> tuple[int, int]:
    """What somebody on this machine gets from the closed contract and from the public one."""
    harness = Harness()
    settings = EdgeSettings.model_validate({"access": rules})
    async with (
        harness.serving(rooms),
        HttpHarness(harness.stage).serving(look, lobby, settings=settings) as client,
    ):
        closed = await client.get("/look/a", caller=caller)
        public = await client.get("/lobby/a", caller=None)
    return closed.status, public.status


async def test_rules_hold_over_http() -> None:
    ann = [{"issuer": ISSUER, "subject": "ann"}]

    assert await statuses() == (200, 200)
    assert await statuses(allow(callers=ann)) == (200, 403)
    assert await statuses(allow(callers=ann), caller=Caller("bob")) == (403, 403)
    assert await statuses(deny(callers=ann)) == (403, 200)
    assert await statuses(deny(addresses=["127.0.0.0/8"])) == (403, 403)
    assert await statuses(allow(addresses=["127.0.0.1"])) == (200, 200)
    assert await statuses(deny(topics=["test.look.*"])) == (403, 200)


async def test_a_refused_address_is_refused_before_its_credential_is_looked_at() -> None:
    assert await statuses(deny(addresses=["127.0.0.0/8"]), caller=None) == (403, 403)
    assert await statuses(allow(addresses=["127.0.0.0/8"]), caller=None) == (401, 200)
