"""The table [edge.tls]: what is refused at start, by name, and all of it at once."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError
from support.certificates import CLIENT, DAY, Authority

from busgate.edge.settings import EdgeSettings, faults_with
from busgate.edge.tls.settings import EdgeTlsSettings

Tree = dict[str, Any]


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority("clients")


@pytest.fixture
def good(tmp_path: Path, authority: Authority) -> Tree:
    """A table without fault."""
    cert, key = authority.issue("shop.example").write(tmp_path)
    (tmp_path / "clients.crl").write_bytes(authority.revoke())
    return {
        "certificates": [{"cert": cert, "key": key}],
        "client_ca": authority.write(tmp_path, "clients"),
        "client_crl": tmp_path / "clients.crl",
        "clients": [{"san": "DNS:billing.shop.example", "subject": "billing"}],
    }


def faults(table: Tree) -> list[tuple[str, str]]:
    """Place and text of each."""
    with pytest.raises(ValidationError) as caught:
        EdgeTlsSettings.model_validate(table)
    return [(".".join(map(str, each["loc"])), each["msg"]) for each in caught.value.errors()]


def test_a_good_table_is_taken(good: Tree) -> None:
    settings = EdgeTlsSettings.model_validate(good)

    assert EdgeSettings(tls=settings).schemes == {"certificate"}
    assert [each.load().names for each in settings.certificates] == [("shop.example",)]


SANS = {
    "no kind": "billing.shop.example",
    "another kind": "EMAIL:billing@shop.example",
    "a wildcard": "DNS:*.shop.example",
    "capitals": "DNS:Billing.shop.example",
    "a dot at the end": "DNS:billing.shop.example.",
    "an empty label": "DNS:billing..example",
    "a name that is none": "DNS:-a.example",
    "too long": f"DNS:{'a.' * 130}example",
    "no scheme": "URI:shop.example",
    "a space": "URI:spiffe://shop.example/a b",
    "quotes": 'URI:spiffe://shop.example/"',
    "empty": "URI:",
    "an address": "IP:127.0.0.1",
}


@pytest.mark.parametrize("san", SANS.values(), ids=SANS)
def test_a_name_that_is_not_one_whole_name_is_refused(good: Tree, san: str) -> None:
    ((place, text),) = faults({**good, "clients": [{"san": san, "subject": "billing"}]})

    assert place == "clients.0.san"
    assert "must be one whole name, like DNS:billing.shop.example" in text


def write_crl(maker: Callable[[Authority], bytes]) -> Callable[[Tree, Authority], None]:
    return lambda table, authority: (table["client_crl"].write_bytes(maker(authority)), None)[1]


def replace(**values: Any) -> Callable[[Tree, Authority], None]:
    return lambda table, _: table.update(values)


def write_ca(maker: Callable[[Authority], bytes]) -> Callable[[Tree, Authority], None]:
    return lambda table, authority: (table["client_ca"].write_bytes(maker(authority)), None)[1]


WRONG: dict[str, tuple[Callable[[Tree, Authority], None], str, str]] = {
    "no certificate": (replace(certificates=[]), "", "there is no certificate"),
    "no authority for clients": (
        replace(client_ca=None, client_crl=None),
        "",
        "clients needs client_ca",
    ),
    "clients required of no authority": (
        replace(client_ca=None, client_crl=None, clients=[], client_required=True),
        "",
        "client_required needs client_ca",
    ),
    "a name twice": (
        replace(clients=[{"san": "DNS:a.example", "subject": name} for name in "ab"]),
        "",
        "two tables of clients have one san",
    ),
    "a caller too large to travel": (
        replace(clients=[{"san": "DNS:a.example", "subject": "a", "scopes": ["s" * 5000]}]),
        "clients.0",
        "4096 travel",
    ),
    "authorities that are missing": (replace(client_ca=Path("/nowhere.pem")), "client_ca", "there is no file"),
    "authorities empty": (write_ca(lambda _: b""), "client_ca", "is empty"),
    "authorities cut off": (write_ca(lambda ca: ca.pem[:-5]), "client_ca", "is cut off"),
    "authorities that are none": (
        write_ca(lambda ca: ca.pem + ca.issue("a.example", usage=CLIENT).pem),
        "client_ca",
        "certificate 2 is not that of an authority",
    ),
    "lists that are none": (write_crl(lambda ca: ca.pem), "client_crl", "holds no revocation list"),
    "lists that cannot be read": (
        write_crl(lambda ca: ca.revoke().replace(b"MII", b"AAA").replace(b"MIH", b"AAA").replace(b"MIG", b"AAA")),
        "client_crl",
        "cannot be read",
    ),
    "lists of another authority": (
        write_crl(lambda _: Authority("other").revoke()),
        "client_crl",
        "of none of the authorities",
    ),
    "lists of one authority of two": (
        write_ca(lambda ca: ca.pem + Authority("newer").pem),
        "client_crl",
        "holds no revocation list of CN=newer: add it",
    ),
    "lists of an impostor": (
        write_crl(lambda _: Authority("clients").revoke()),
        "client_crl",
        "of none of the authorities",
    ),
}


@pytest.mark.parametrize(("change", "place", "text"), WRONG.values(), ids=WRONG)
def test_what_is_wrong_is_told_with_its_place(
    good: Tree, authority: Authority, change: Callable[[Tree, Authority], None], place: str, text: str
) -> None:
    change(good, authority)

    ((found, told),) = faults(good)

    assert found == place
    assert text in told


def test_all_faults_are_told_at_once(good: Tree, tmp_path: Path) -> None:
    good["certificates"] += [
        {"cert": tmp_path / "a.pem", "key": tmp_path / "a.key"},
        {"cert": tmp_path, "key": tmp_path},
    ]
    good["client_ca"] = tmp_path / "none.pem"
    good["clients"] = [{"san": "x", "subject": ""}]

    places = [place for place, _ in faults(good)]

    assert places == ["certificates.1", "certificates.2", "client_ca", "clients.0.san", "clients.0.subject"]


def test_an_authority_that_vouches_for_another_alone_needs_no_list(good: Tree) -> None:
    root = Authority("root")
    issuing = Authority("issuing", parent=root)
    good["client_ca"].write_bytes(root.pem + issuing.pem)
    good["client_crl"].write_bytes(issuing.revoke())

    read = EdgeTlsSettings.model_validate(good).load_authorities()

    assert read is not None
    assert read.names == ("CN=root", "CN=issuing")


def test_revocation_lists_that_ended_are_taken_and_their_end_is_known(good: Tree, authority: Authority) -> None:
    good["client_crl"].write_bytes(authority.revoke(ends=-DAY))

    read = EdgeTlsSettings.model_validate(good).load_authorities()

    assert read is not None
    assert read.lists_end is not None
    assert read.lists_end < good["client_crl"].stat().st_mtime


def test_a_contract_may_ask_for_certificates_where_clients_are_known(good: Tree) -> None:
    from busgate.contracts import Call, Catalog, Nothing, http

    call = Call("a.b.v1", http.get("/a"), request=Nothing, reply=Nothing, schemes={"certificate"})
    without = {**good, "clients": []}

    assert faults_with(EdgeSettings.model_validate({"tls": good}), Catalog([call])) == []
    assert len(faults_with(EdgeSettings.model_validate({"tls": without}), Catalog([call]))) == 1


@pytest.mark.parametrize(("name", "mode"), [("server.pem", 0o646), ("server.key", 0o602), ("ca.pem", 0o666)])
def test_files_that_everyone_can_change_are_refused(tmp_path: Path, name: str, mode: int) -> None:
    """Whoever writes into that of the authorities lets in whom it likes."""
    authority = Authority()
    cert, key = authority.issue("shop.example").write(tmp_path)
    table = {"certificates": [{"cert": cert, "key": key}], "client_ca": authority.write(tmp_path)}
    (tmp_path / name).chmod(mode)

    with pytest.raises(ValidationError, match=r"can be changed by everyone; chmod o-w it"):
        EdgeTlsSettings.model_validate(table)
