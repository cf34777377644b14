"""Routes and header markers."""

from typing import Any

import pytest

from busgate.contracts import http
from busgate.contracts.http import Header, Route, segments_of


@pytest.mark.parametrize(
    ("path", "segments"),
    [
        ("/", []),
        ("/orders", [("orders", "")]),
        ("/orders/{id}/lines", [("orders", ""), ("", "id"), ("lines", "")]),
        ("/a.b/~x/@me/v1:run", [("a.b", ""), ("~x", ""), ("@me", ""), ("v1:run", "")]),
    ],
)
def test_a_template_is_literals_and_variables(path: str, segments: list[tuple[str, str]]):
    assert segments_of(path) == segments


@pytest.mark.parametrize(
    "path",
    [
        "",
        "orders",
        "//",
        "/a/",
        "/a//b",
        "/.",
        "/a/../b",
        "/{}",
        "/{1a}",
        "/x{id}",
        "/{id}x",
        "/{id",
        "/é",
        "/a b",
        "/%41",
        "/a?b",
    ],
)
def test_a_template_that_has_two_readings_is_refused(path: str):
    with pytest.raises(ValueError):
        http.get(path)


@pytest.mark.parametrize("status", [100, 199, 300, 404])
def test_success_is_2xx(status: int):
    with pytest.raises(ValueError, match="2xx"):
        http.get("/", status=status)


def test_a_variable_stands_once():
    with pytest.raises(ValueError, match="twice"):
        http.get("/{id}/x/{id}")


def test_the_location_is_a_template_too():
    with pytest.raises(ValueError):
        http.post("/", status=201, location="orders/{id}")


@pytest.mark.parametrize(
    ("make", "method", "has_body"),
    [
        (http.get, "GET", False),
        (http.delete, "DELETE", False),
        (http.post, "POST", True),
        (http.put, "PUT", True),
        (http.patch, "PATCH", True),
    ],
)
def test_each_method_has_its_maker(make: Any, method: str, has_body: bool):
    route = make("/a/{x}")

    assert isinstance(route, Route)
    assert (route.method, route.has_body, route.variables, route.status) == (method, has_body, ("x",), 200)


def test_the_shape_forgets_the_names_of_variables():
    assert http.get("/a/{x}").shape == http.get("/a/{y}").shape == ("GET", "a", "{}")
    assert http.get("/a/x").shape != http.get("/a/{x}").shape


@pytest.mark.parametrize("name", ["", "X Tenant", "X:Y", "X\r\nY", "Ü", "X_Y"])
def test_a_header_has_a_name_of_letters_digits_and_hyphens(name: str):
    with pytest.raises(ValueError):
        Header(name)


@pytest.mark.parametrize("name", ["Authorization", "cookie", "Proxy-Authorization", "Host", "Content-Length"])
def test_credentials_and_framing_do_not_become_fields(name: str):
    with pytest.raises(ValueError, match="does not travel"):
        Header(name)
