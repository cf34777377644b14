"""The dashboard and the alerts name what edges, workers and RabbitMQ really show. `scripts/try-alerts` fires the alerts."""

import asyncio
import json
import re
import ssl
import urllib.request
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import yaml  # type: ignore[import-untyped] # its stubs are a package of their own
from support.broker import RabbitNode
from support.certificates import Authority
from support.definitions import ROOT
from support.faults.processes import Process
from support.management import Vhost
from support.ports import free_ports
from support.promql import names_in
from support.scrape import Scrape

from busgate.contracts import failure

DASHBOARD: dict[str, Any] = json.loads((ROOT / "deploy/grafana/busgate.json").read_text())
ALERTS: list[dict[str, Any]] = yaml.safe_load((ROOT / "deploy/prometheus/alerts.yml").read_text())["groups"][0]["rules"]
SCRAPED: dict[str, Any] = yaml.safe_load((ROOT / "deploy/prometheus/prometheus.yml").read_text())
PANELS = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
EXPRESSIONS = [target["expr"] for panel in PANELS for target in panel["targets"]] + [rule["expr"] for rule in ALERTS]
OF_PROMETHEUS = {"up"}
TARGET_LABELS = {"instance", "job", "le"}
LONGEST = 60.0

HELLO = """\
from busgate.contracts import Call, Nothing, http
from busgate.workers import Context, Service

hello = Call("test.hello.v1", http.get("/hello"), request=Nothing, reply=Nothing, public=True)
service = Service("hello")


@service.handles(hello)
async def answer(request: Nothing, context: Context) -> Nothing:
    return request
"""

Shown = dict[str, frozenset[str]]
"""Names of all samples, each with the labels that it has."""


def get(url: str, tls: ssl.SSLContext | None = None) -> str:
    handlers = [urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=tls)]
    with urllib.request.build_opener(*handlers).open(url, timeout=20) as answer:
        return str(answer.read().decode())


async def use(port: int, tls: ssl.SSLContext) -> None:
    """A request that is answered, bytes that are none, and a client that speaks no TLS."""
    await asyncio.to_thread(get, f"https://127.0.0.1:{port}/hello", tls)
    reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=tls)
    writer.write(b"nonsense\r\n\r\n")
    await reader.read()
    writer.close()
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"nonsense\r\n\r\n")
    await reader.read()
    writer.close()


@pytest.fixture
async def texts(vhost: Vhost, tmp_path: Path) -> AsyncIterator[list[str]]:
    """What an edge and a worker show after a call and a refusal, each a process of its own."""
    (tmp_path / "hello.py").write_text(HELLO)
    edge_port, edge_admin, worker_admin = free_ports(3)
    authority = Authority()
    cert, key = authority.issue("IP:127.0.0.1").write(tmp_path)
    environ = {
        "PYTHONPATH": str(tmp_path),
        "BUSGATE_BUS__URL": vhost.url,
        "BUSGATE_EDGE__TLS__CERTIFICATES": json.dumps([{"cert": str(cert), "key": str(key)}]),
    }
    async with asyncio.timeout(LONGEST):
        worker = await Process.start("worker", "hello:service", f"--admin-port={worker_admin}", environ=environ)
        edge = await Process.start(
            *("edge", "hello", f"--port={edge_port}", f"--admin-port={edge_admin}"),
            environ=environ | {"BUSGATE_EDGE__AUDIT__TO": "stdout"},
        )
        try:
            await worker.until("worker ready")
            await edge.until("edge ready")
            await use(edge_port, ssl.create_default_context(cadata=authority.pem.decode()))
            yield [
                await asyncio.to_thread(get, f"http://127.0.0.1:{port}/metrics") for port in (edge_admin, worker_admin)
            ]
        finally:
            await edge.kill()
            await worker.kill()


@pytest.fixture
def shown(texts: list[str]) -> Shown:
    return labels_of(texts)


def labels_of(texts: list[str]) -> Shown:
    labels: Shown = {}
    for text in texts:
        scrape = Scrape(text)
        for name, kind in scrape.types.items():
            for end in ("_bucket", "_sum", "_count") if kind == "histogram" else ("",):
                labels.setdefault(name + end, frozenset())
        for name, pairs in scrape.samples:
            labels[name] = labels[name] | frozenset(label for label, _ in pairs)
    return labels


async def test_metrics_say_of_themselves_what_the_page_of_the_operator_says(texts: list[str]) -> None:
    page = (ROOT / "docs" / "operating.md").read_text(encoding="utf-8")
    on_the_page = dict(re.findall(r"^\| `(busgate_[a-z_]+)` \| (.+) \|$", page, re.MULTILINE))

    said = {
        name: text[0].lower() + text[1:].removesuffix(".")
        for each in texts
        for name, text in Scrape(each).helps.items()
    }
    assert said == on_the_page


async def test_each_metric_of_ours_that_is_named_is_shown_with_its_labels(shown: Shown) -> None:
    for expression in EXPRESSIONS:
        named = names_in(expression)
        ours = {name: labels for name, labels in named.metrics.items() if name.startswith("busgate_")}
        assert set(ours) <= set(shown), expression
        for name, labels in ours.items():
            assert labels | named.grouping <= shown[name] | TARGET_LABELS, expression


async def test_each_metric_of_rabbitmq_that_is_named_is_shown(broker_node: RabbitNode) -> None:
    text = await asyncio.to_thread(get, f"{broker_node.prometheus}/metrics")

    shown = set(re.findall(r"^# TYPE (\w+) ", text, re.MULTILINE))
    named = {name for expression in EXPRESSIONS for name in names_in(expression).metrics}
    foreign = {name for name in named if not name.startswith("busgate_")} - OF_PROMETHEUS
    assert foreign
    assert foreign <= shown


def test_kinds_of_failure_that_are_named_exist() -> None:
    known = {kind.name for kind in vars(failure).values() if isinstance(kind, failure.FailureKind)}

    found = {
        name
        for expression in EXPRESSIONS
        for names in re.findall(r'failure=~?"([^"]+)"', expression)
        for name in names.split("|")
    }
    assert found
    assert found <= known


def test_jobs_that_are_named_are_scraped() -> None:
    scraped = {job["job_name"] for job in SCRAPED["scrape_configs"]}

    assert {job for expression in EXPRESSIONS for job in re.findall(r'job="([^"]+)"', expression)} == scraped


def test_what_is_scraped_is_what_compose_runs() -> None:
    services = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]

    targets = [
        target for job in SCRAPED["scrape_configs"] for each in job["static_configs"] for target in each["targets"]
    ]
    assert (
        {target.partition(":")[0] for target in targets}
        == {"edge", "rabbitmq", "worker-1", "worker-2"}
        <= set(services)
    )


@pytest.mark.parametrize("rule", ALERTS, ids=[rule["alert"] for rule in ALERTS])
def test_each_alert_says_what_is_wrong_and_what_to_do(rule: dict[str, Any]) -> None:
    document = (ROOT / "docs" / "monitoring.md").read_text()

    assert re.fullmatch(r"Busgate[A-Za-z]+", rule["alert"])
    assert rule["labels"]["severity"] in {"page", "ticket"}
    assert rule["annotations"]["summary"].endswith(".")
    assert len(rule["annotations"]["action"].split()) >= 5
    assert f"| {rule['alert']} | {rule['labels']['severity']} | {rule['annotations']['action']} |" in document
    named = names_in(rule["expr"])
    told = set(re.findall(r"\$labels\.(\w+)", rule["annotations"]["summary"]))
    assert told <= (named.grouping or {"file", "instance", "issuer", "topic"})


def test_alerts_stand_once_in_the_document_and_in_its_order() -> None:
    document = (ROOT / "docs" / "monitoring.md").read_text()

    assert re.findall(r"^\| (Busgate\w+) \|", document, re.MULTILINE) == [rule["alert"] for rule in ALERTS]


def test_panels_have_titles_a_word_of_explanation_and_places_of_their_own() -> None:
    taken: set[tuple[int, int]] = set()
    for panel in DASHBOARD["panels"]:
        place = panel["gridPos"]
        cells = {(place["x"] + x, place["y"] + y) for x in range(place["w"]) for y in range(place["h"])}
        assert not cells & taken, panel["title"]
        assert place["x"] + place["w"] <= 24
        taken |= cells
    assert all(panel["title"] and panel["description"].endswith(".") for panel in PANELS)
    assert len({panel["id"] for panel in DASHBOARD["panels"]}) == len(DASHBOARD["panels"])


def test_the_dashboard_uses_only_the_variables_that_it_has() -> None:
    text = json.dumps(DASHBOARD)

    known = {variable["name"] for variable in DASHBOARD["templating"]["list"]} | {"__rate_interval", "__all"}
    assert set(re.findall(r"\$\{?(\w+)", text)) == known
