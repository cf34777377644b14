"""TLS as an operator lives with it: refused at start, renewed while it serves, and `busgate certs` beside it."""

import asyncio
import json
import ssl
import urllib.request
from pathlib import Path
from typing import Any

import pytest
from support.certificates import CLIENT, DAY, Authority
from support.command import Run, Start
from support.management import Vhost

TABLE = """\
[edge]
contracts = ["hello.contracts"]
port = {port}
admin.port = {admin}
processes = {processes}

[edge.tls]
look = 0.1
client_ca = "clients.pem"

[[edge.tls.certificates]]
cert = "server.pem"
key = "server.key"
"""


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority("shop authority")


@pytest.fixture
def house(folder: Path, authority: Authority, free_ports: list[int], free_port: int) -> Path:
    """A folder with a configuration, a certificate for localhost, and an authority for clients."""
    authority.issue("localhost", "*.shop.example").write(folder)
    authority.write(folder)
    Authority("clients", ends=100 * DAY).write(folder, "clients")
    table = TABLE.format(port=free_port, admin=free_ports[0], processes=1)
    (folder / "busgate.toml").write_text(table)
    return folder


def shown(run: Run, *arguments: str) -> tuple[int, dict[str, Any]]:
    done = run("certs", "--json", *arguments)
    assert done.stderr == ""
    return done.returncode, json.loads(done.stdout)


def test_files_are_shown_without_an_edge(run: Run, house: Path, free_port: int) -> None:
    done = run("certs")
    code, document = shown(run)

    head, server, clients, silent = done.stdout.splitlines()
    assert (done.returncode, code) == (0, 0)
    assert head.split() == ["FILE", "FOR", "ISSUER", "ENDS", "DAYS", "SERVED"]
    assert "localhost, *.shop.example  shop authority  20" in server
    assert server.split()[-2:] == ["19", "?"]
    assert clients.split()[:2] == ["clients.pem", "clients"]
    assert silent == f"no edge answers at 127.0.0.1:{free_port} (Connection refused)"
    assert [each["kind"] for each in document["certificates"]] == ["server", "client-ca"]
    assert document["certificates"][0]["days_left"] == 20.0
    assert document["certificates"][0]["state"] == "unanswered"


def test_a_revocation_list_stands_out_in_the_last_quarter_of_its_life(run: Run, house: Path) -> None:
    clients = Authority("clients", ends=100 * DAY)
    clients.write(house, "clients")
    (house / "busgate.toml").write_text(
        (house / "busgate.toml").read_text().replace("[edge.tls]", '[edge.tls]\nclient_crl = "clients.crl"')
    )
    told = []
    for ends in (DAY, DAY / 2):  # it was made two days ago
        (house / "clients.crl").write_bytes(clients.revoke(ends=ends))
        code, document = shown(run)
        told.append((code, document["stands_out"]))

    assert told[0] == (0, [])
    assert told[1][0] == 1
    assert told[1][1][0].endswith("in less than a quarter of its life")


STANDS_OUT = {
    "it ends soon": (
        lambda ca, folder: ca.issue("localhost", begins=-87 * DAY, ends=3 * DAY).write(folder),
        "in less than 14 days",
    ),
    "one of a week ends soon": (
        lambda ca, folder: ca.issue("localhost", begins=-6 * DAY, ends=DAY).write(folder),
        "in less than a quarter of its life",
    ),
    "it has ended": (
        lambda ca, folder: ca.issue("localhost", begins=-9 * DAY, ends=-DAY).write(folder),
        "server.pem ended 20",
    ),
    "it is not good yet": (
        lambda ca, folder: ca.issue("localhost", begins=DAY, ends=90 * DAY).write(folder),
        "server.pem is not good before 20",
    ),
    "its key is another's": (
        lambda ca, folder: (folder / "server.pem").write_bytes(ca.issue("localhost").pem),
        "server.key is not the key of server.pem",
    ),
    "it is not there": (lambda _, folder: (folder / "server.pem").unlink(), "there is no file server.pem"),
    "everyone can read its key": (lambda _, folder: (folder / "server.key").chmod(0o644), "can be read by everyone"),
    "an authority of clients ends soon": (
        lambda _, folder: Authority("clients", ends=DAY / 4).write(folder, "clients"),
        "clients.pem ends 20",
    ),
    "the authorities of clients are none": (
        lambda ca, folder: (folder / "clients.pem").write_bytes(ca.issue("a.example", usage=CLIENT).pem),
        "is not that of an authority",
    ),
}


@pytest.mark.parametrize(("change", "note"), STANDS_OUT.values(), ids=STANDS_OUT)
def test_what_stands_out_is_told_and_is_an_exit_code(
    run: Run, house: Path, authority: Authority, change: Any, note: str
) -> None:
    change(authority, house)

    done = run("certs")

    notes = [line for line in done.stdout.splitlines() if line.startswith("! ")]
    assert (done.returncode, done.stderr) == (1, "")
    assert len(notes) == 1
    assert note in notes[0]


def test_a_certificate_that_lives_for_days_is_no_trouble_while_it_is_young(
    run: Run, house: Path, authority: Authority
) -> None:
    authority.issue("localhost", ends=5 * DAY).write(house)

    assert shown(run)[1]["stands_out"] == []
    assert shown(run, "--within", "7")[0] == 1


def test_how_soon_is_soon_can_be_said(run: Run, house: Path) -> None:
    assert shown(run, "--within", "10")[0] == 0
    assert shown(run, "--within", "30")[0] == 1


BAD_CALLS = {
    "no table": ("[edge]\nport = 1\n", [], "edge.tls: there is none: this edge speaks no TLS"),
    "no certificate": ("[edge.tls]\ncertificates = []\n", [], "edge.tls.certificates: there is none"),
    "a key is missing": ("[[edge.tls.certificates]]\ncert = 'a.pem'\n", [], "edge.tls.certificates[0].key: is missing"),
    "days that are none": ("", ["--within", "soon"], "'soon' is not a number of days from 0 to 3650"),
}


@pytest.mark.parametrize(("table", "arguments", "fault"), BAD_CALLS.values(), ids=BAD_CALLS)
def test_what_cannot_be_shown_is_one_line(run: Run, folder: Path, table: str, arguments: list[str], fault: str) -> None:
    (folder / "busgate.toml").write_text(table)

    done = run("certs", *arguments)

    assert (done.returncode, done.stdout) == (2, "")
    assert fault in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_a_port_that_speaks_no_tls_is_told(run: Run, house: Path, taken: int) -> None:
    code, document = shown(run, "--port", str(taken))

    assert code == 0
    assert document["unanswered"].startswith(f"no edge answers at 127.0.0.1:{taken} (")


def test_check_and_edge_refuse_a_bad_pair_by_place_and_name(run: Run, house: Path) -> None:
    (house / "server.key").chmod(0o644)
    (house / "clients.pem").write_text("nothing")

    told = [run(*command) for command in (["check"], ["edge", "--bus", "amqp://127.0.0.1:1"])]

    assert [done.returncode for done in told] == [2, 2]
    assert [done.stderr.splitlines() for done in told] == [
        [
            "busgate: busgate.toml:9: edge.tls.client_ca: clients.pem holds no certificate in PEM",
            "busgate: busgate.toml:11: edge.tls.certificates[0]: server.key can be read by everyone; chmod o-r it",
        ]
    ] * 2


def test_check_warns_of_what_clients_will_refuse(run: Run, house: Path, authority: Authority) -> None:
    authority.issue("localhost", "*.shop.example", begins=-9 * DAY, ends=-DAY).write(house)
    file = house / "busgate.toml"
    hosts = '["a.shop.example", "localhost:8443", "other.example:443", "[::1]:8443"]'
    file.write_text(file.read_text().replace("[edge]\n", f'[edge]\nhosts = {hosts}\ntrusted_proxies = ["::/0"]\n'))

    done = run("check", "--strict")

    assert done.returncode == 1
    told = [line.partition("warning: ")[2] for line in done.stderr.splitlines()]
    places = [line.split(": ")[:2] for line in told]
    assert places == [
        ["busgate.toml:3", "edge.trusted_proxies"],
        ["busgate.toml:13", "edge.tls.certificates[0]"],
        ["busgate.toml:2", "edge.hosts"],
        ["busgate.toml:2", "edge.hosts"],
    ]
    assert "server.pem ended 20" in told[1]
    assert ["other.example" in told[2], "::1" in told[3]] == [True, True]


def get(url: str, context: ssl.SSLContext | None = None) -> tuple[int, str]:
    handlers = [urllib.request.ProxyHandler({})]
    opener = urllib.request.build_opener(
        *handlers, *([urllib.request.HTTPSHandler(context=context)] if context else [])
    )
    with opener.open(url, timeout=20) as answer:
        return answer.status, answer.read().decode()


async def until_metric(admins: list[int], line: str) -> None:
    """Wait until each process shows a line among its metrics."""
    async with asyncio.timeout(30):
        for port in admins:
            while line not in (await asyncio.to_thread(get, f"http://127.0.0.1:{port}/metrics"))[1]:
                await asyncio.sleep(0.05)


@pytest.mark.slow
async def test_several_processes_renew_their_certificates_and_certs_says_how_that_stands(
    run: Run, start: Start, house: Path, authority: Authority, vhost: Vhost, free_ports: list[int], free_port: int
) -> None:
    file = house / "busgate.toml"
    file.write_text(TABLE.format(port=free_port, admin=free_ports[0], processes=2))
    edge = await start("edge", "--config", str(file), "--bus", vhost.url)
    worker = await start("worker", "hello.services:greeter", "--bus", vhost.url)
    await edge.until("edge ready", number=2)
    await worker.until("worker ready")
    context = ssl.create_default_context(cafile=house / "ca.pem")
    greeting = f"https://localhost:{free_port}/greetings/you"
    new = authority.issue("localhost", "*.shop.example")

    assert f"https://127.0.0.1:{free_port}" in edge.output
    assert (await asyncio.to_thread(get, greeting, context))[0] == 200
    code, document = shown(run)
    assert (code, [each["state"] for each in document["certificates"]]) == (0, ["same", ""])

    (house / "server.pem").write_bytes(new.pem)
    fault = f'busgate_certificate_fault{{file="{house}/server.pem"}}'
    await until_metric(free_ports, f"{fault} 1")
    code, document = shown(run)
    assert (code, document["certificates"][0]["state"]) == (1, "differs")
    assert len(document["stands_out"]) == 2
    assert [(await asyncio.to_thread(get, f"http://127.0.0.1:{port}/readyz"))[0] for port in free_ports] == [200, 200]
    assert (await asyncio.to_thread(get, greeting, context))[0] == 200

    new.write(house)
    await until_metric(free_ports, f"{fault} 0")
    code, document = shown(run)
    assert (code, document["certificates"][0]["state"]) == (0, "same")
    assert document["certificates"][0]["served"] == [new.fingerprint]
    await edge.until("new certificates are served", number=2)
    assert edge.output.count("new certificates cannot be used; the old ones stay") == 2
    assert edge.output.count("new certificates are served") == 2
    assert [await edge.stop(), await worker.stop()] == [0, 0]


@pytest.mark.slow
async def test_each_of_several_certificates_is_asked_for_by_its_name(
    run: Run, start: Start, house: Path, authority: Authority, vhost: Vhost
) -> None:
    """Also where clients must have a certificate, which the command has not."""
    authority.issue("*.other.example").write(house, "other")
    authority.issue("localhost").write(house, "shadow")
    file = house / "busgate.toml"
    more = "".join(f'[[edge.tls.certificates]]\ncert = "{n}.pem"\nkey = "{n}.key"\n' for n in ("other", "shadow"))
    file.write_text(file.read_text().replace("look = 0.1", "client_required = true") + more)
    edge = await start("edge", "--config", str(file), "--bus", vhost.url)
    await edge.until("edge ready")

    code, document = shown(run)

    assert code == 0
    assert [each["state"] for each in document["certificates"]] == ["same", "same", "shadowed", ""]
    assert await edge.stop() == 0


@pytest.mark.slow
async def test_dev_and_its_contracts_need_no_tls(start: Start, folder: Path) -> None:
    package = folder / "hello" / "contracts.py"
    package.write_text(package.read_text().replace("public=True", "schemes={'certificate'}"))
    file = folder / "busgate.toml"
    file.write_text(TABLE.format(port=0, admin=0, processes=1))

    dev = await start(
        *("dev", "hello.contracts", "--service", "hello.services:greeter", "--config", str(file)),
        *("--port", "0", "--admin-port", "0"),
    )

    await dev.until("http://127.0.0.1:")
    token = (await dev.until("export TOKEN=")).partition("=")[2]
    address = next(line for line in dev.lines if line.startswith("http://127.0.0.1:")).split()[0]
    request = urllib.request.Request(f"{address}/greetings/you", headers={"Authorization": f"Bearer {token}"})
    assert (await asyncio.to_thread(_open, request)) == 200


def _open(request: urllib.request.Request) -> int:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(request, timeout=20) as answer:
        return int(answer.status)
