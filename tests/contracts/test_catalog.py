"""A catalog holds contracts that go together, or says which do not."""

import sys
import types

import pytest

from busgate.contracts import Call, Catalog, ContractError, Nothing, http
from busgate.contracts.catalog import AnyCall
from busgate.contracts.http import Route


def call(topic: str, route: Route) -> AnyCall:
    return Call(topic, route, request=Nothing, reply=Nothing)


PLACE = call("orders.place.v1", http.post("/orders"))
LIST = call("orders.list.v1", http.get("/orders"))


@pytest.fixture
def module(monkeypatch: pytest.MonkeyPatch) -> types.ModuleType:
    made = types.ModuleType("made_for_a_test")
    monkeypatch.setitem(sys.modules, made.__name__, made)
    return made


def test_a_catalog_keeps_the_order_and_finds_by_topic():
    catalog = Catalog([PLACE, LIST])

    assert list(catalog) == [PLACE, LIST]
    assert len(catalog) == 2
    assert catalog["orders.list.v1"] is LIST
    assert "orders.place.v1" in catalog
    assert "orders.none.v1" not in catalog


def test_two_contracts_with_one_topic_are_refused_by_name():
    with pytest.raises(ContractError, match=r"orders\.place\.v1"):
        Catalog([PLACE, call("orders.place.v1", http.get("/other"))])


@pytest.mark.parametrize(
    ("one", "other"),
    [(http.get("/orders"), http.get("/orders")), (http.get("/orders/{id}"), http.get("/orders/{key}"))],
)
def test_two_contracts_with_one_route_are_refused_by_name(one: Route, other: Route):
    from pydantic import create_model

    both = create_model("Both", id=(str, ...), key=(str, ...))
    calls = [Call(f"{name}.v1", route, request=both, reply=Nothing) for name, route in (("a", one), ("b", other))]

    with pytest.raises(ContractError, match=r"a\.v1 and b\.v1 both answer GET /orders"):
        Catalog(calls)


def test_modules_are_loaded_by_name(module: types.ModuleType):
    vars(module).update(place=PLACE, also_place=PLACE, list_=LIST, number=1)

    assert list(Catalog.load(["made_for_a_test", "made_for_a_test"])) == [PLACE, LIST]


def test_a_module_without_contracts_is_refused(module: types.ModuleType):
    with pytest.raises(ContractError, match="made_for_a_test holds no contract"):
        Catalog.load(["made_for_a_test"])


def test_a_module_that_cannot_be_imported_is_refused_by_name():
    with pytest.raises(ContractError, match=r"cannot import no\.such\.module: ModuleNotFoundError"):
        Catalog.load(["no.such.module"])
