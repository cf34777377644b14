"""A contract that cannot work is refused where it is written."""

from typing import Any

import pytest

from busgate.contracts import Call, ContractError, Nothing, Problem, http
from busgate.contracts.http import Route


class Gone(Problem):
    status = 410


class AlsoGone(Problem):
    status = 410
    type = Gone.type


def call(topic: str = "shop.orders.place.v1", route: Route | None = None, **more: Any) -> Call[Nothing, Nothing]:
    return Call(topic, route or http.post("/orders"), request=Nothing, reply=Nothing, **more)


@pytest.mark.parametrize("topic", ["a.v1", "shop.orders.place.v12", "a-b.c_d.0.v0", "x" * 197 + ".v1"])
def test_a_topic_is_dotted_words_and_a_version(topic: str):
    assert call(topic).topic == topic


@pytest.mark.parametrize(
    "topic",
    [
        "",
        "v1",
        "orders",
        "orders.v",
        "orders.1",
        "Orders.v1",
        "orders..v1",
        ".orders.v1",
        "orders.v1.",
        "orders.*.v1",
        "orders.#.v1",
        "orders place.v1",
        "orders.v1@canary",
        "orders.v1\n",
        "-orders.v1",
        "bücher.v1",
        "x" * 198 + ".v1",
    ],
)
def test_a_topic_that_routes_elsewhere_is_refused(topic: str):
    """W15"""
    with pytest.raises(ContractError, match="topic"):
        call(topic)


@pytest.mark.parametrize(
    ("values", "why"),
    [
        ({"timeout": 0}, "timeout"),
        ({"timeout": 301}, "timeout"),
        ({"timeout": float("nan")}, "timeout"),
        ({"public": True, "scopes": {"a"}}, "public"),
        ({"scopes": "orders:write"}, "scopes"),
        ({"public": True, "schemes": {"jwt"}}, "public"),
        ({"schemes": "jwt"}, "schemes"),
        ({"delegates": "shop.orders"}, "delegates"),
        ({"delegates": {"shop."}}, "like shop.orders, not 'shop.'"),
        ({"delegates": {"Shop"}}, "delegates"),
        ({"delegates": {"shop.orders"}, "bound": True}, "cannot be delegated"),
        ({"public": True, "bound": True}, "no caller to bind"),
        ({"prefetch": 0}, "prefetch"),
        ({"prefetch": 65536}, "prefetch"),
        ({"max_body": 0}, "max_body"),
        ({"max_body": 16 * 1024 * 1024 + 1}, "max_body"),
        ({"errors": [Gone, AlsoGone]}, "one type"),
        ({"errors": [ValueError]}, "Problem"),
        ({"errors": [Problem]}, "Problem"),
    ],
)
def test_values_out_of_bounds_are_refused_by_name(values: dict[str, Any], why: str):
    with pytest.raises(ContractError, match=f"shop.orders.place.v1.*{why}"):
        call(**values)


@pytest.mark.parametrize(
    ("route", "redelivery", "reruns"),
    [
        (http.get("/"), None, True),
        (http.put("/"), None, True),
        (http.delete("/"), None, True),
        (http.post("/"), None, False),
        (http.patch("/"), None, False),
        (http.post("/"), "run", True),
        (http.get("/"), "refuse", False),
    ],
)
def test_only_what_is_safe_to_repeat_is_run_again(route: Route, redelivery: Any, reruns: bool):
    assert call(route=route, redelivery=redelivery).reruns is reruns


def test_a_contract_is_a_value_that_does_not_change():
    contract = call(scopes=["a", "b", "a"], errors=[Gone])

    assert contract.scopes == frozenset({"a", "b"})
    assert contract.errors == (Gone,)
    with pytest.raises(AttributeError):
        contract.topic = "other.v1"  # type: ignore[misc]
    assert repr(contract) == "<Call shop.orders.place.v1: POST /orders>"


@pytest.mark.parametrize(
    ("topic", "audience"),
    [
        ("shop.orders.place.v1", "shop.orders"),
        ("shop.orders.place.v12", "shop.orders"),
        ("orders.place.v1", "orders"),
        ("echo.v1", "echo"),
        ("a.b.c.d.v1", "a.b.c"),
    ],
)
def test_callers_are_signed_for_what_the_topics_of_a_service_have_in_common(topic: str, audience: str):
    assert call(topic).audience == audience
