"""What a listener serves over real sockets: versions, the certificate for each name, and new ones for old ones."""

import hashlib
import ssl
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import pytest
from pydantic import BaseModel
from support.bad_certificates import BAD_PAIRS, BadPair, Files
from support.certificates import DAY, Authority, Issued

from busgate.contracts import Call, Catalog, http
from busgate.edge.request import Request
from busgate.edge.response import Response, header_block
from busgate.edge.settings import EdgeSettings, faults_with
from busgate.edge.tls.server import ServerTls
from busgate.edge.tls.settings import EdgeTlsSettings

if TYPE_CHECKING:
    from edge.conftest import Client, Gate, OpenGate


class Told(BaseModel):
    said: Annotated[str, http.Header("Strict-Transport-Security")] = ""


GOOD = b"GET /a HTTP/1.1\r\nHost: h\r\n\r\n"


@pytest.fixture(scope="module")
def root() -> Authority:
    return Authority("root")


@pytest.fixture(scope="module")
def middle(root: Authority) -> Authority:
    return Authority("middle", parent=root)


async def answer(request: Request) -> Response:
    return Response(200, b"{}")


def settings(*pairs: tuple[Path, Path], **more: Any) -> EdgeTlsSettings:
    certificates = [{"cert": cert, "key": key} for cert, key in pairs]
    return EdgeTlsSettings.model_validate({"certificates": certificates, **more})


def trusting(*authorities: Authority) -> ssl.SSLContext:
    return ssl.create_default_context(cadata="".join(each.pem.decode() for each in authorities))


def served(client: "Client") -> str:
    """The fingerprint of the certificate that a connection was opened with."""
    der = client.writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
    return hashlib.sha256(der).hexdigest()


async def ask(gate: "Gate", context: ssl.SSLContext, name: str = "shop.example") -> str:
    """Connect to a host of that name, have a request answered, and see whose certificate it was."""
    client = await gate.connect(tls=context, name=name)
    assert (await client.ask(GOOD)).status == 200
    client.close()
    return served(client)


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3], ids=["1.2", "1.3"])
async def test_modern_versions_are_spoken(
    open_gate: "OpenGate", tmp_path: Path, root: Authority, version: ssl.TLSVersion
) -> None:
    tls = ServerTls(settings(root.issue("shop.example").write(tmp_path)))
    gate = await open_gate(answer, tls=tls.context)
    context = trusting(root)
    context.minimum_version = context.maximum_version = version
    context.set_alpn_protocols(["h2", "http/1.1"])

    client = await gate.connect(tls=context, name="shop.example")

    spoken = client.writer.get_extra_info("ssl_object")
    assert spoken.version() == {"TLSv1_2": "TLSv1.2", "TLSv1_3": "TLSv1.3"}[version.name]
    assert spoken.selected_alpn_protocol() == "http/1.1"
    assert (await client.ask(GOOD)).status == 200


OLD: dict[str, dict[str, Any]] = {
    "TLS 1.0": {"maximum_version": ssl.TLSVersion.TLSv1, "ciphers": "ALL:@SECLEVEL=0"},
    "TLS 1.1": {"maximum_version": ssl.TLSVersion.TLSv1_1, "ciphers": "ALL:@SECLEVEL=0"},
    "no forward secrecy": {"maximum_version": ssl.TLSVersion.TLSv1_2, "ciphers": "AES128-GCM-SHA256:@SECLEVEL=0"},
    "CBC": {"maximum_version": ssl.TLSVersion.TLSv1_2, "ciphers": "ECDHE-ECDSA-AES128-SHA:@SECLEVEL=0"},
    "no encryption": {"maximum_version": ssl.TLSVersion.TLSv1_2, "ciphers": "eNULL:@SECLEVEL=0"},
}


@pytest.mark.parametrize("how", OLD.values(), ids=OLD)
@pytest.mark.filterwarnings("ignore:ssl.TLSVersion:DeprecationWarning")
async def test_what_is_no_longer_safe_is_not_spoken(
    open_gate: "OpenGate", tmp_path: Path, root: Authority, how: dict[str, Any]
) -> None:
    tls = ServerTls(settings(root.issue("shop.example").write(tmp_path)))
    gate = await open_gate(answer, tls=tls.context)
    context = trusting(root)
    context.minimum_version = ssl.TLSVersion.TLSv1
    context.maximum_version = how["maximum_version"]
    context.set_ciphers(how["ciphers"])

    with pytest.raises((ssl.SSLError, ConnectionError)):
        await gate.connect(tls=context, name="shop.example")
    await gate.until(lambda: sum(tls.failed.values()) == 1)
    assert set(tls.failed) <= {"unsupported_protocol", "no_shared_cipher", "version_too_low"}


NAMES = {
    "shop.example": 0,
    "SHOP.example": 0,
    "www.shop.example": 1,
    "API.shop.example": 2,
    "a.b.shop.example": 0,
    "other.example": 0,
    "*.shop.example": 1,
    "xshop.example": 0,
    "": 0,
}


@pytest.mark.parametrize(("name", "number"), NAMES.items(), ids=NAMES)
async def test_the_certificate_is_chosen_by_name(
    open_gate: "OpenGate", tmp_path: Path, root: Authority, name: str, number: int
) -> None:
    """Exactly, then by a wildcard of one label; whoever names nothing that is known gets the first."""
    issued = [root.issue("shop.example"), root.issue("*.shop.example"), root.issue("api.shop.example")]
    tls = ServerTls(settings(*(each.write(tmp_path, str(n)) for n, each in enumerate(issued))))
    gate = await open_gate(answer, tls=tls.context)
    context = trusting(root)
    context.check_hostname = False

    assert await ask(gate, context, name) == issued[number].fingerprint


async def test_the_earlier_of_two_certificates_with_one_name_has_it(
    open_gate: "OpenGate", tmp_path: Path, root: Authority
) -> None:
    issued = [root.issue("a.example"), root.issue("b.example", "c.example"), root.issue("c.example")]
    tls = ServerTls(settings(*(each.write(tmp_path, str(n)) for n, each in enumerate(issued))))
    gate = await open_gate(answer, tls=tls.context)

    assert await ask(gate, trusting(root), "c.example") == issued[1].fingerprint


async def test_the_chain_is_sent(open_gate: "OpenGate", tmp_path: Path, root: Authority, middle: Authority) -> None:
    whole, bare = middle.issue("shop.example"), middle.issue("bare.example")
    pairs = whole.write(tmp_path), Issued(bare.certificate, bare.key).write(tmp_path, "bare")
    gate = await open_gate(answer, tls=ServerTls(settings(*pairs)).context)

    assert await ask(gate, trusting(root)) == whole.fingerprint
    with pytest.raises(ssl.SSLCertVerificationError, match="unable to get local issuer"):
        await gate.connect(tls=trusting(root), name="bare.example")


async def look_twice(tls: ServerTls) -> None:
    """A change counts when two looks found the same."""
    await tls.look()
    await tls.look()


async def test_new_certificates_are_served_to_new_connections_and_old_ones_go_on(
    open_gate: "OpenGate", tmp_path: Path, root: Authority
) -> None:
    old, new = root.issue("shop.example"), root.issue("shop.example", "new.example")
    tls = ServerTls(settings(old.write(tmp_path)))
    gate = await open_gate(answer, tls=tls.context)
    kept = await gate.connect(tls=trusting(root), name="shop.example")
    new.write(tmp_path)

    await tls.look()
    between = await ask(gate, trusting(root))
    await tls.look()

    assert between == old.fingerprint
    assert await ask(gate, trusting(root)) == new.fingerprint
    assert await ask(gate, trusting(root), "new.example") == new.fingerprint
    assert (await kept.ask(GOOD)).status == 200
    assert [each.reloads for each in tls.watched] == [1]


@pytest.mark.parametrize("row", BAD_PAIRS, ids=lambda row: row.id)
async def test_a_bad_new_pair_leaves_the_old_one_and_raises_an_alarm(
    open_gate: "OpenGate", tmp_path: Path, root: Authority, middle: Authority, row: BadPair
) -> None:
    other, old = root.issue("other.example"), middle.issue("shop.example")
    cert, key = old.write(tmp_path)
    tls = ServerTls(settings(other.write(tmp_path, "other"), (cert, key)))
    gate = await open_gate(answer, tls=tls.context)
    cert.unlink()
    key.unlink()
    row.make(Files(cert, key, root, middle))
    other = root.issue("other.example")
    other.write(tmp_path, "other")

    await look_twice(tls)

    assert await ask(gate, trusting(root)) == old.fingerprint
    assert await ask(gate, trusting(root), "other.example") == other.fingerprint
    assert row.told.format(cert=cert, key=key) in (tls.watched[1].fault or "")
    assert tls.watched[0].fault is None
    for path in (cert, key):
        path.rmdir() if path.is_dir() else path.unlink(missing_ok=True)
    mended = middle.issue("shop.example")
    mended.write(tmp_path)
    await look_twice(tls)
    assert await ask(gate, trusting(root)) == mended.fingerprint
    assert tls.watched[1].fault is None


async def test_a_change_that_is_taken_back_is_no_fault(tmp_path: Path, root: Authority) -> None:
    cert, _ = root.issue("shop.example").write(tmp_path)
    tls = ServerTls(settings((cert, tmp_path / "server.key")))
    away = cert.rename(tmp_path / "away.pem")
    await look_twice(tls)
    fault = tls.watched[0].fault
    away.rename(cert)

    await tls.look()

    assert fault == f"there is no file {cert}"
    assert (tls.watched[0].fault, tls.watched[0].reloads) == (None, 0)


async def test_links_that_are_turned_to_another_folder_are_followed(
    open_gate: "OpenGate", tmp_path: Path, root: Authority
) -> None:
    """As Kubernetes does it with secrets."""
    old, new = root.issue("shop.example"), root.issue("shop.example")
    for name, issued in (("old", old), ("new", new)):
        (tmp_path / name).mkdir()
        issued.write(tmp_path / name)
    data = tmp_path / "data"
    data.symlink_to(tmp_path / "old")
    tls = ServerTls(settings((data / "server.pem", data / "server.key")))
    gate = await open_gate(answer, tls=tls.context)
    turned = tmp_path / "turned"
    turned.symlink_to(tmp_path / "new")

    turned.rename(data)
    await look_twice(tls)

    assert await ask(gate, trusting(root)) == new.fingerprint


async def test_the_files_are_looked_at_by_themselves(open_gate: "OpenGate", tmp_path: Path, root: Authority) -> None:
    new = root.issue("shop.example")
    tls = ServerTls(settings(root.issue("shop.example").write(tmp_path), look=0.05))
    gate = await open_gate(answer, tls=tls.context)
    await tls.start()
    new.write(tmp_path)

    await gate.until(lambda: tls.watched[0].reloads == 1)

    assert await ask(gate, trusting(root)) == new.fingerprint
    await tls.close()


async def test_a_certificate_that_ended_is_served_when_there_is_no_other(
    open_gate: "OpenGate", tmp_path: Path, root: Authority
) -> None:
    """Its clients refuse it, if they look; to refuse the start would take it from those that do not."""
    ended = root.issue("shop.example", begins=-3 * DAY, ends=-DAY)
    tls = ServerTls(settings(ended.write(tmp_path)))
    gate = await open_gate(answer, tls=tls.context)
    blind = trusting(root)
    blind.check_hostname, blind.verify_mode = False, ssl.CERT_NONE

    assert await ask(gate, blind) == ended.fingerprint
    assert list(tls.ends.values()) == [ended.certificate.not_valid_after_utc.timestamp()]
    with pytest.raises(ssl.SSLCertVerificationError, match="expired"):
        await gate.connect(tls=trusting(root), name="shop.example")


@pytest.mark.parametrize(
    ("more", "header"),
    [
        ({}, "max-age=31536000"),
        ({"hsts": 300, "hsts_subdomains": True}, "max-age=300; includeSubDomains"),
        ({"hsts": 0}, None),
    ],
    ids=["by default", "as set", "off"],
)
async def test_answers_and_refusals_tell_browsers_to_come_back_by_https(
    open_gate: "OpenGate", tmp_path: Path, root: Authority, more: dict[str, Any], header: str | None
) -> None:
    tls = ServerTls(settings(root.issue("shop.example").write(tmp_path), **more))
    gate = await open_gate(answer, tls=tls.context, headers=header_block(tls.settings.headers))
    client = await gate.connect(tls=trusting(root), name="shop.example")

    answers = [await client.ask(GOOD), await client.ask(b"nonsense\r\n\r\n")]

    assert [each.headers.get("strict-transport-security") for each in answers] == [header, header]


@pytest.mark.parametrize(
    ("table", "hsts", "faults"),
    [
        ({"set": ["strict-transport-security: max-age=1"]}, 300, 1),
        ({"add": ["Strict-Transport-Security: max-age=1"], "topics": ["shop.*"]}, 300, 1),
        ({"remove": ["Strict-Transport-Security"]}, 300, 1),
        ({"set": ["Strict-Transport-Security: max-age=1"]}, 0, 0),
        ({"request_set": ["Strict-Transport-Security: max-age=1"]}, 300, 0),
    ],
    ids=["set", "added for some", "removed", "only by the rule", "of requests"],
)
def test_a_rule_for_what_goes_with_tls_is_refused(
    tmp_path: Path, root: Authority, table: dict[str, Any], hsts: int, faults: int
) -> None:
    """Answers would have the header twice, or have it although a rule removes it."""
    tls = settings(root.issue("shop.example").write(tmp_path), hsts=hsts)
    call = Call("shop.stock.read.v1", http.get("/stock"), request=Told, reply=Told, public=True)

    found = faults_with(EdgeSettings.model_validate({"tls": tls, "headers": [table]}), Catalog([call]))

    assert found == faults * [
        "edge.headers.0: Strict-Transport-Security is what edge.tls.hsts says; set that (0: no such header)"
    ]


async def test_a_handshake_has_its_own_time(open_gate: "OpenGate", tmp_path: Path, root: Authority) -> None:
    tls = ServerTls(settings(root.issue("shop.example").write(tmp_path)))
    gate = await open_gate(answer, tls=tls.context, handshake=0.1)
    silent = await gate.connect()
    halfway = await gate.connect()
    halfway.send(b"\x16\x03\x01\x02\x00\x01")

    assert await silent.rest() == b""
    assert await halfway.rest() == b""
    assert await ask(gate, trusting(root))


@pytest.mark.parametrize("over_tls", [True, False], ids=["TLS", "plain"])
async def test_a_connection_of_age_is_told_to_close(
    open_gate: "OpenGate", tmp_path: Path, root: Authority, over_tls: bool
) -> None:
    tls = ServerTls(settings(root.issue("shop.example").write(tmp_path))) if over_tls else None
    gate = await open_gate(answer, tls=tls.context if tls else None, age=0.2)
    name, context = ("shop.example", trusting(root)) if tls else (None, None)
    client = await gate.connect(tls=context, name=name)
    first = await client.ask(GOOD)
    opened = gate.server.now

    await gate.until(lambda: gate.server.now > opened + 0.2)
    last = await client.ask(GOOD)

    assert (first.closes, last.closes, last.status) == (False, True, 200)
    assert await client.rest() == b""
