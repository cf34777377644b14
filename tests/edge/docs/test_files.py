"""The documentation as an edge serves it: public, strict, switchable, and beside the contracts, not in their way."""

import json
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack
from typing import Any

import aiohttp
import pytest
from pydantic import BaseModel
from structlog.testing import capture_logs

from busgate.bus import Bus
from busgate.bus.embedded import EmbeddedBroker
from busgate.contracts import Call, Catalog, ContractError, Nothing, http
from busgate.contracts.openapi import document
from busgate.edge import Edge, EdgeSettings, Recorder
from busgate.edge.docs.files import docs_files
from busgate.edge.records import Record
from busgate.edge.settings import faults_with

PATHS = ("/docs", "/openapi.json", "/docs/page.css", "/docs/page.js", "/docs/icon.svg")


class Thing(BaseModel):
    name: str


def call(route: http.Route, topic: str = "thing.v1") -> Call[Any, Any]:
    return Call(topic, route, request=Thing, reply=Thing, public=True)


CATALOG = Catalog([call(http.get("/{name}")), call(http.post("/things"), "make.v1")])


class Site:
    """A running edge and a client of it."""

    def __init__(self, edge: Edge, base: str, client: aiohttp.ClientSession, records: list[Record]) -> None:
        self.edge = edge
        self.records = records
        self._base = base
        self._client = client

    async def ask(self, path: str, method: str = "GET", **headers: str) -> tuple[int, Mapping[str, str], bytes]:
        async with self._client.request(method, self._base + path, headers=headers) as answer:
            return answer.status, answer.headers, await answer.read()


OpenSite = Callable[..., Awaitable[Site]]


@pytest.fixture
async def open_site() -> AsyncIterator[OpenSite]:
    async with AsyncExitStack() as closing:

        async def open_one(catalog: Catalog = CATALOG, **docs: Any) -> Site:
            bus = Bus(EmbeddedBroker(), name="edge")
            await closing.enter_async_context(bus)
            records: list[Record] = []
            settings = EdgeSettings.model_validate({"docs": docs})
            edge = Edge(catalog, settings, bus, recorder=Recorder(records.extend))
            closing.push_async_callback(edge.close)
            sock = socket.create_server(("127.0.0.1", 0))
            await edge.start(sock)
            client = await closing.enter_async_context(
                aiohttp.ClientSession(auto_decompress=False, timeout=aiohttp.ClientTimeout(20))
            )
            return Site(edge, f"http://127.0.0.1:{sock.getsockname()[1]}", client, records)

        yield open_one


async def test_everybody_gets_the_page_its_files_and_the_document(open_site: OpenSite) -> None:
    site = await open_site(title="Things", version="7", description="All of them.")

    answers = {path: await site.ask(path, **{"Accept-Encoding": "identity"}) for path in PATHS}

    assert [(answer[0], answer[1]["Content-Type"]) for answer in answers.values()] == [
        (200, "text/html; charset=utf-8"),
        (200, "application/json"),
        (200, "text/css; charset=utf-8"),
        (200, "text/javascript; charset=utf-8"),
        (200, "image/svg+xml"),
    ]
    expected = document(CATALOG, title="Things", version="7", description="All of them.")
    assert json.loads(answers["/openapi.json"][2]) == expected


@pytest.mark.parametrize("path", PATHS)
async def test_a_browser_may_do_nothing_with_them_but_what_the_page_needs(open_site: OpenSite, path: str) -> None:
    _, headers, _ = await (await open_site()).ask(path)

    policy = dict(part.split(" ", 1) for part in headers["Content-Security-Policy"].split("; "))
    assert policy == {
        "default-src": "'none'",
        "script-src": "'self'",
        "style-src": "'self'",
        "img-src": "'self'",
        "connect-src": "'self'",
        "form-action": "'none'",
        "base-uri": "'none'",
        "frame-ancestors": "'none'",
    }
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["X-Frame-Options"] == "DENY"
    assert headers["Referrer-Policy"] == "no-referrer"


async def test_what_a_client_has_already_is_not_sent_again(open_site: OpenSite) -> None:
    site = await open_site()
    _, headers, _ = await site.ask("/openapi.json")

    status, _, body = await site.ask("/openapi.json", **{"If-None-Match": headers["ETag"]})

    assert (status, body) == (304, b"")


async def test_they_are_only_to_be_read(open_site: OpenSite) -> None:
    site = await open_site()

    status, headers, body = await site.ask("/docs", "HEAD")
    refused, allowed, _ = await site.ask("/openapi.json", "POST")

    assert (status, body) == (200, b"")
    assert int(headers["Content-Length"]) > 1000
    assert (refused, allowed["Allow"]) == (405, "GET, HEAD")


async def test_switched_off_there_are_none_and_their_paths_are_free(open_site: OpenSite) -> None:
    catalog = Catalog([call(http.post("/docs"))])
    site = await open_site(catalog, enabled=False)

    assert [(await site.ask(path))[0] for path in PATHS] == [405, 404, 404, 404, 404]
    assert faults_with(EdgeSettings.model_validate({"docs": {"enabled": False}}), catalog) == []


async def test_a_variable_of_a_contract_takes_all_other_paths(open_site: OpenSite) -> None:
    site = await open_site()

    status, _, body = await site.ask("/docs2")

    assert (status, json.loads(body)["type"]) == (503, "urn:busgate:no-route")
    assert (await site.ask("/docs"))[0] == 200


async def test_they_are_recorded_without_a_topic(open_site: OpenSite) -> None:
    site = await open_site()
    await site.ask("/docs")

    await site.edge.close()

    (record,) = site.records
    assert (record[3], record[4], record[6], record[8]) == ("/docs", "", 200, "")


@pytest.mark.parametrize(
    "route",
    [http.get("/docs"), http.post("/docs"), http.get("/openapi.json"), http.get("/docs/{name}"), http.put("/docs/a/b")],
)
def test_a_contract_in_their_place_is_refused_in_one_line(route: http.Route) -> None:
    (fault,) = faults_with(EdgeSettings(), Catalog([call(route)]))

    assert fault == (
        f"contract thing.v1: {route.path} is where the documentation of the API is; "
        "choose another path, or set edge.docs.enabled = false"
    )


@pytest.mark.parametrize("path", ["/", "/docsx", "/a/docs", "/{name}", "/openapi.json/x", "/openapi"])
def test_a_contract_beside_them_is_not_refused(path: str) -> None:
    assert faults_with(EdgeSettings(), Catalog([call(http.post(path))])) == []


def test_a_model_that_has_no_schema_is_refused_with_a_cure() -> None:
    class Strange:
        pass

    class Holder(BaseModel, arbitrary_types_allowed=True):
        x: Strange

    catalog = Catalog([Call("a.v1", http.post("/a"), request=Thing, reply=Holder, public=True)])

    with pytest.raises(ContractError, match=r"has no JSON schema.*, or set edge\.docs\.enabled = false"):
        docs_files(catalog, EdgeSettings())


def test_a_catalog_beyond_all_reading_is_not_documented(monkeypatch: pytest.MonkeyPatch) -> None:
    """It would hold up the start of the edge, and fill its memory."""
    monkeypatch.setattr("busgate.edge.docs.files.MOST", 1)
    two = [Call(f"many.n{number}.v1", http.get(f"/{number}"), request=Nothing, reply=Nothing) for number in range(2)]

    with capture_logs() as logs:
        found = docs_files(Catalog(two), EdgeSettings())

    assert found == {}
    assert logs[0]["contracts"] == 2
    assert docs_files(Catalog(two[:1]), EdgeSettings())
