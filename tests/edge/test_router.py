import pytest
from hypothesis import given
from hypothesis import strategies as st

from busgate.contracts.http import Method, Route, delete, get, post, segments_of
from busgate.edge.refusal import METHOD_NOT_ALLOWED, NOT_FOUND, Refusal
from busgate.edge.router import Router

ROUTES = [
    (get("/"), "root"),
    (get("/orders"), "list"),
    (post("/orders"), "place"),
    (get("/orders/{id}"), "read"),
    (get("/orders/latest"), "latest"),
    (delete("/orders/{id}"), "cancel"),
    (get("/orders/{id}/lines/{line}"), "line"),
    (get("/{shop}/latest/x"), "shop"),
]


@pytest.fixture
def router() -> Router[str]:
    return Router(ROUTES)


@pytest.mark.parametrize(
    ("method", "path", "target", "variables"),
    [
        ("GET", "/", "root", ()),
        ("GET", "/orders", "list", ()),
        ("HEAD", "/orders", "list", ()),
        ("POST", "/orders", "place", ()),
        ("GET", "/orders/7", "read", ("7",)),
        ("GET", "/orders/a b", "read", ("a b",)),
        ("GET", "/orders/latest", "latest", ()),
        ("DELETE", "/orders/latest", "cancel", ("latest",)),
        ("GET", "/orders/7/lines/2", "line", ("7", "2")),
        ("GET", "/orders/latest/x", "shop", ("orders",)),
    ],
)
def test_a_path_finds_its_route_and_variables(
    router: Router[str], method: str, path: str, target: str, variables: tuple[str, ...]
) -> None:
    assert router.find(method, path) == (target, variables)


@pytest.mark.parametrize("path", ["/nothing", "/orders/", "/orders/7/lines/", "/orders/7/lines", "/orders/7/lines/2/x"])
def test_a_path_that_no_route_has_is_not_found(router: Router[str], path: str) -> None:
    with pytest.raises(Refusal) as caught:
        router.find("GET", path)

    assert caught.value.kind is NOT_FOUND


@pytest.mark.parametrize(
    ("method", "path", "allow"),
    [
        ("PUT", "/orders", "GET, HEAD, POST"),
        ("POST", "/orders/7", "DELETE, GET, HEAD"),
        ("OPTIONS", "/orders", "GET, HEAD, POST"),
        ("TRACE", "/", "GET, HEAD"),
    ],
)
def test_another_method_is_told_which_ones_are_served(router: Router[str], method: str, path: str, allow: str) -> None:
    with pytest.raises(Refusal) as caught:
        router.find(method, path)

    assert caught.value.kind is METHOD_NOT_ALLOWED
    assert caught.value.headers == [("Allow", allow)]


@pytest.mark.parametrize("paths", [("/a", "/a"), ("/a/{b}", "/a/{c}")])
def test_two_routes_with_one_shape_are_an_error(paths: tuple[str, str]) -> None:
    with pytest.raises(ValueError, match="two routes"):
        Router([(get(path), path) for path in paths])


METHODS: tuple[Method, ...] = ("GET", "POST")
segments = st.sampled_from(["a", "b", "c", "{x}", "{y}", "{z}"])
templates = st.lists(segments, max_size=4).map(lambda parts: "/" + "/".join(parts))


@st.composite
def tables(draw: st.DrawFn) -> list[Route]:
    routes = {}
    for path in draw(st.lists(templates, max_size=12)):
        method: Method = draw(st.sampled_from(METHODS))
        try:
            route = Route(method, path)
        except ValueError:  # a variable that stands twice
            continue
        routes[route.shape] = route
    return list(routes.values())


def naive(routes: list[Route], method: str, path: str) -> tuple[Route, tuple[str, ...]] | None:
    """Every route tried; of those that fit the one with its literals furthest to the left."""
    parts = [] if path == "/" else path[1:].split("/")
    fits = []
    for route in routes:
        pairs = segments_of(route.path)
        if route.method != method or len(pairs) != len(parts):
            continue
        if all(name or literal == part for (literal, name), part in zip(pairs, parts, strict=True)):
            fits.append(([bool(name) for _, name in pairs], route))
    if not fits:
        return None
    _, best = min(fits, key=lambda fit: fit[0])
    names = [name for _, name in segments_of(best.path)]
    return best, tuple(part for name, part in zip(names, parts, strict=True) if name)


@given(tables(), st.sampled_from(["GET", "POST"]), st.lists(st.sampled_from("abcd"), max_size=4))
def test_the_router_agrees_with_trying_every_route(routes: list[Route], method: str, parts: list[str]) -> None:
    router = Router([(route, route) for route in routes])
    path = "/" + "/".join(parts)
    expected = naive(routes, method, path)

    if expected is None:
        with pytest.raises(Refusal) as caught:
            router.find(method, path)
        others = [m for m in ("GET", "POST") if naive(routes, m, path)]
        assert caught.value.kind is (METHOD_NOT_ALLOWED if others else NOT_FOUND)
    else:
        assert router.find(method, path) == expected
