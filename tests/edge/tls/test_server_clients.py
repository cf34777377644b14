"""Clients with certificates, against an edge on real sockets: who gets in, as whom, and which tokens hold there."""

import asyncio
import base64
import datetime as dt
import errno
import hashlib
import json
import os
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel
from support.certificates import CLIENT, DAY, SERVER, Authority, Issued
from support.issuer import Issuer

from busgate.bus import Bus, Delivery
from busgate.bus.embedded import EmbeddedBroker
from busgate.contracts import Call, Catalog, http
from busgate.edge.app import Edge
from busgate.edge.bearer import Bearer
from busgate.edge.client_certificates import ClientCertificates
from busgate.edge.records import Recorder
from busgate.edge.settings import EdgeSettings

HOST = "shop.example"
BILLING = {
    "san": "DNS:billing.shop.example",
    "subject": "billing",
    "scopes": ["orders:read"],
    "roles": ["service"],
    "tenant": "north",
}
STOCK = {"san": "URI:spiffe://shop.example/stock", "subject": "stock", "scopes": ["orders:read"]}


class Empty(BaseModel):
    pass


class Seen(BaseModel):
    """The `caller` header of the call."""

    sub: str
    iss: str = ""
    scope: str = ""
    roles: list[str] = []
    tenant: str = ""


look = Call("shop.look.v1", http.get("/look"), request=Empty, reply=Seen, scopes={"orders:read"})
by_certificate = Call(
    "shop.certificate.v1", http.get("/certificate"), request=Empty, reply=Seen, schemes={"certificate"}
)
by_token = Call("shop.token.v1", http.get("/token"), request=Empty, reply=Seen, schemes={"jwt"})
act = Call("shop.act.v1", http.post("/act"), request=Empty, reply=Seen)
CONTRACTS = [look, by_certificate, by_token, act]

Answer = tuple[int, dict[str, Any]]


class Gate:
    """An edge in front of a service that answers who called, on the embedded bus."""

    def __init__(self, edge: Edge, port: int, root: Authority, closing: AsyncExitStack) -> None:
        self.edge = edge
        self.port = port
        self.root = root
        self.called = asyncio.Event()
        self.service = asyncio.Event()
        """The service waits for it."""
        self.service.set()
        self._closing = closing

    async def connect(
        self, issued: Issued | None, folder: Path, *, version: ssl.TLSVersion | None = None
    ) -> "Connection":
        context = ssl.create_default_context(cadata=self.root.pem.decode())
        if version is not None:
            context.minimum_version = context.maximum_version = version
        if issued is not None:
            context.load_cert_chain(*issued.write(folder, "client"))
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port, ssl=context, server_hostname=HOST)
        self._closing.callback(writer.close)
        return Connection(reader, writer)


class Connection:
    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    async def get(self, path: str = "/look", token: str | None = None) -> Answer:
        """Status and document. Raises OSError or IncompleteReadError where the edge hangs up."""
        return await self.ask(f"GET {path}", f"Authorization: Bearer {token}\r\n" if token else "")

    async def ask(self, target: str, headers: str) -> Answer:
        self._writer.write(f"{target} HTTP/1.1\r\nHost: {HOST}\r\n{headers}\r\n".encode())
        async with asyncio.timeout(10):
            head = (await self._reader.readuntil(b"\r\n\r\n")).decode()
            length = int(head.lower().partition("content-length: ")[2].split("\r\n")[0])
            body = await self._reader.readexactly(length)
        return int(head.split()[1]), json.loads(body)


OpenEdge = Callable[..., Awaitable[Gate]]


@pytest.fixture(scope="module")
def root() -> Authority:
    return Authority("root")


@pytest.fixture(scope="module")
def clients() -> Authority:
    """Vouches for clients."""
    return Authority("clients")


@pytest.fixture
async def open_edge(tmp_path: Path, root: Authority, clients: Authority) -> AsyncIterator[OpenEdge]:
    cert, key = root.issue(HOST).write(tmp_path)
    client_ca = clients.write(tmp_path, "clients")
    async with AsyncExitStack() as closing:

        async def open_one(*, jwt: list[dict[str, Any]] | None = None, **tls: Any) -> Gate:
            broker = EmbeddedBroker()
            worker = Bus(broker, name="worker")

            async def reply(delivery: Delivery) -> tuple[bytes, bytes]:
                if not gate.service.is_set():
                    gate.called.set()
                await gate.service.wait()
                return b"reply", delivery.context.caller or b'{"sub":"nobody"}'

            for call in CONTRACTS:
                worker.serve(call.topic, reply, prefetch=10, reruns=True, service="shop")
            await closing.enter_async_context(worker)
            bus = await closing.enter_async_context(Bus(broker, name="edge"))
            table = {
                "certificates": [{"cert": cert, "key": key}],
                "client_ca": client_ca,
                "clients": [BILLING, STOCK],
                **tls,
            }
            settings = EdgeSettings.model_validate({"jwt": jwt or [], "tls": table})
            edge = Edge(Catalog(CONTRACTS), settings, bus, recorder=Recorder(lambda _: None))
            closing.push_async_callback(edge.close)
            listener = socket.create_server(("127.0.0.1", 0))
            async with asyncio.timeout(10):
                await edge.start(listener)
            gate = Gate(edge, listener.getsockname()[1], root, closing)
            return gate

        yield open_one


@dataclass(frozen=True, slots=True)
class Row:
    """A client: its certificate, and what becomes of its request where one may, and where one must be there.

    A number is a status; text is OpenSSL's word for why the handshake fails.
    """

    id: str
    issue: Callable[[Authority], Issued | None]
    optional: int | str
    required: int | str


def issued(*names: str, **more: Any) -> Callable[[Authority], Issued]:
    return lambda authority: authority.issue(*names, **{"usage": CLIENT, **more})


DNS, URI = "DNS:billing.shop.example", "URI:spiffe://shop.example/stock"
NONE, BAD = "peer_did_not_return_a_certificate", "certificate_verify_failed"
ROWS = [
    Row("a name of DNS", issued(DNS), 200, 200),
    Row("a name of DNS in capitals", issued("DNS:BILLING.shop.example"), 200, 200),
    Row("a URI", issued(URI), 200, 200),
    Row("a known name among others", issued("DNS:a.example", DNS, "EMAIL:a@shop.example"), 200, 200),
    Row("no extended key usage", issued(DNS, usage=None), 200, 200),
    Row("no certificate", lambda _: None, 401, NONE),
    Row("of another authority", lambda _: Authority("clients").issue(DNS, usage=CLIENT), BAD, BAD),
    Row("signed by itself", lambda _: self_signed_client(), BAD, BAD),
    Row("for servers alone", issued(DNS, usage=SERVER), BAD, BAD),
    Row("ended", issued(DNS, begins=-3 * DAY, ends=-DAY), BAD, BAD),
    Row("ended a moment ago", issued(DNS, ends=-dt.timedelta(seconds=2)), BAD, BAD),
    Row("not good yet", issued(DNS, begins=DAY, ends=2 * DAY), BAD, BAD),
    Row("an authority between that is not sent", lambda clients: chained(clients, sent=False), BAD, BAD),
    Row("an authority between that is sent", lambda clients: chained(clients, sent=True), 200, 200),
    Row("issued by a client", lambda clients: by_a_client(clients, "forger"), BAD, BAD),
    Row("a CN alone", issued(common="billing.shop.example"), 401, 401),
    Row("a CN beside another name", issued("DNS:a.example", common="billing.shop.example"), 401, 401),
    Row("another name", issued("DNS:mail.shop.example"), 401, 401),
    Row("a longer name", issued("DNS:billing.shop.example.evil.example"), 401, 401),
    Row("a name within ours", issued("DNS:shop.example"), 401, 401),
    Row("a name with ours at its end", issued("DNS:evil.billing.shop.example"), 401, 401),
    Row("a name for many", issued("DNS:*.shop.example"), 401, 401),
    Row("a name with a dot behind it", issued("DNS:billing.shop.example."), 401, 401),
    Row("a longer URI", issued("URI:spiffe://shop.example/stock/admin"), 401, 401),
    Row("a URI with a query", issued("URI:spiffe://shop.example/stock?a=b"), 401, 401),
    Row("a URI in capitals", issued("URI:SPIFFE://shop.example/stock"), 401, 401),
    Row("the URI as a name of DNS", issued("DNS:spiffe://shop.example/stock"), 401, 401),
    Row("the name of DNS as a URI", issued("URI:billing.shop.example"), 401, 401),
    Row("a mail address", issued("EMAIL:billing@billing.shop.example"), 401, 401),
    Row("names of two callers", issued(DNS, URI), 401, 401),
]


def self_signed_client() -> Issued:
    own = Authority("billing.shop.example")
    return Issued(own.certificate, own.key)


def chained(clients: Authority, *, sent: bool) -> Issued:
    """Of an authority between, whose certificate the client sends or not."""
    whole = Authority("between", parent=clients).issue(DNS, usage=CLIENT)
    return whole if sent else Issued(whole.certificate, whole.key)


def by_a_client(clients: Authority, name: str) -> Issued:
    """A client that plays an authority with the certificate that it was given."""
    client = clients.issue("DNS:mail.shop.example", usage=CLIENT)
    forger = Authority(name)
    forger.key, forger.name = client.key, client.certificate.subject  # type: ignore[assignment] # of the same kind
    forged = forger.issue(DNS, usage=CLIENT)
    return Issued(forged.certificate, forged.key, (client.certificate,))


@pytest.mark.parametrize(
    ("required", "version"),
    [(False, ssl.TLSVersion.TLSv1_3), (True, ssl.TLSVersion.TLSv1_2)],
    ids=["optional, TLS 1.3", "required, TLS 1.2"],
)
@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.id)
async def test_who_gets_in(
    open_edge: OpenEdge, clients: Authority, tmp_path: Path, row: Row, required: bool, version: ssl.TLSVersion
) -> None:
    gate = await open_edge(client_required=required)
    expected = row.required if required else row.optional
    failed = gate.edge.tls.failed if gate.edge.tls else {}

    try:
        connection = await gate.connect(row.issue(clients), tmp_path, version=version)
        status, _ = await connection.get()
    except (OSError, asyncio.IncompleteReadError):
        assert set(failed) == {expected}
        return
    assert status == expected
    assert not failed


async def test_a_certificate_that_is_taken_back_is_refused(
    open_edge: OpenEdge, clients: Authority, tmp_path: Path
) -> None:
    good, revoked, later = (clients.issue(DNS, usage=CLIENT) for _ in range(3))
    lists = tmp_path / "clients.crl"
    lists.write_bytes(clients.revoke(revoked))
    gate = await open_edge(client_crl=lists)
    assert gate.edge.tls is not None
    statuses = [(await (await gate.connect(each, tmp_path)).get())[0] for each in (good, later)]
    with pytest.raises((OSError, asyncio.IncompleteReadError)):
        await (await gate.connect(revoked, tmp_path)).get()
    lists.write_bytes(clients.revoke(revoked, later))

    await gate.edge.tls.look()
    await gate.edge.tls.look()

    assert statuses == [200, 200]
    assert (await (await gate.connect(good, tmp_path)).get())[0] == 200
    with pytest.raises((OSError, asyncio.IncompleteReadError)):
        await (await gate.connect(later, tmp_path)).get()
    assert gate.edge.tls.failed == {BAD: 2}
    assert set(gate.edge.tls.ends) == {str(tmp_path / name) for name in ("server.pem", "clients.pem")}
    assert set(gate.edge.tls.lists_end) == {str(tmp_path / "clients.crl")}


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3], ids=["1.2", "1.3"])
async def test_authorities_of_clients_are_exchanged_without_a_stop(
    open_edge: OpenEdge, clients: Authority, tmp_path: Path, version: ssl.TLSVersion
) -> None:
    """From the old one to both to the new one."""
    newer = Authority("newer")
    gate = await open_edge(client_required=True)
    tls = gate.edge.tls
    assert tls is not None
    old, new = clients.issue(DNS, usage=CLIENT), newer.issue(DNS, usage=CLIENT)
    statuses: list[tuple[bool, bool]] = []

    for bundle in (clients.pem, clients.pem + newer.pem, newer.pem):
        (tmp_path / "clients.pem").write_bytes(bundle)
        await tls.look()
        await tls.look()
        statuses.append((await gets_in(gate, old, tmp_path, version), await gets_in(gate, new, tmp_path, version)))

    assert statuses == [(True, False), (True, True), (False, True)]
    assert tls.authorities is not None
    assert (tls.authorities.reloads, tls.authorities.fault) == (2, None)


async def test_connections_of_certificates_end_when_their_authorities_change(
    open_edge: OpenEdge, clients: Authority, tmp_path: Path
) -> None:
    """Each after the call in hand; those of clients without certificates stay."""
    gate = await open_edge()
    tls, client = gate.edge.tls, clients.issue(DNS, usage=CLIENT)
    assert tls is not None
    idle, calling, free = [await gate.connect(each, tmp_path) for each in (client, client, None)]
    assert [(await each.get())[0] for each in (idle, calling, free)] == [200, 200, 401]
    gate.service.clear()
    call = asyncio.create_task(calling.get())
    await gate.called.wait()
    (tmp_path / "clients.pem").write_bytes(clients.pem + Authority("newer").pem)

    await tls.look()
    await tls.look()
    gate.service.set()

    assert (await call)[0] == 200
    for connection in (idle, calling):
        with pytest.raises((OSError, asyncio.IncompleteReadError)):
            await connection.get()
    assert (await free.get())[0] == 401


async def test_a_handshake_that_the_authorities_change_under_fails(
    open_edge: OpenEdge, clients: Authority, tmp_path: Path
) -> None:
    gate = await open_edge()
    tls = gate.edge.tls
    assert tls is not None
    context = ssl.create_default_context(cadata=gate.root.pem.decode())
    context.load_cert_chain(*clients.issue(DNS, usage=CLIENT).write(tmp_path, "client"))
    up, down = ssl.MemoryBIO(), ssl.MemoryBIO()
    client, server = context.wrap_bio(down, up, server_hostname=HOST), tls.context.wrap_bio(up, down, server_side=True)
    for side in (client, server):
        with pytest.raises(ssl.SSLWantReadError):
            side.do_handshake()
    client.do_handshake()
    (tmp_path / "clients.pem").write_bytes(Authority("newer").pem)

    await tls.look()
    await tls.look()

    with pytest.raises(ssl.SSLError, match="changed during the handshake"):
        server.do_handshake()
    assert tls.failed == {"authorities_changed": 1}


async def test_authorities_that_could_not_be_served_at_once_are_served_later(
    open_edge: OpenEdge, clients: Authority, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = await open_edge()
    tls, newer = gate.edge.tls, Authority("newer")
    assert tls is not None
    assert tls.authorities is not None
    (tmp_path / "clients.pem").write_bytes(newer.pem)
    faults: list[str | None] = []

    with monkeypatch.context() as patched:
        patched.setattr("busgate.edge.tls.serving.plain_context", no_file_left)
        for _ in range(3):
            await tls.look()
            faults.append(tls.authorities.fault)
    kept = await gets_in(gate, clients.issue(DNS, usage=CLIENT), tmp_path, ssl.TLSVersion.TLSv1_3)
    await tls.look()

    assert faults == [None, *["cannot be served now: [Errno 24] Too many open files"] * 2]
    assert kept
    assert (tls.authorities.reloads, tls.authorities.fault) == (1, None)
    assert await gets_in(gate, newer.issue(DNS, usage=CLIENT), tmp_path, ssl.TLSVersion.TLSv1_3)


async def test_authorities_that_are_half_written_are_served_once_they_are_whole(
    open_edge: OpenEdge, clients: Authority, tmp_path: Path
) -> None:
    gate = await open_edge()
    tls, newer, file = gate.edge.tls, Authority("newer"), tmp_path / "clients.pem"
    assert tls is not None
    assert tls.authorities is not None
    faults: list[str | None] = []

    for written in (newer.pem + clients.pem[:300], newer.pem + clients.pem):
        file.write_bytes(written)
        await tls.look()
        await tls.look()
        faults.append(tls.authorities.fault)

    assert faults == [f"{file} is cut off: it ends in the middle of a block", None]
    assert (tls.authorities.reloads, tls.authorities.fault) == (1, None)
    assert await gets_in(gate, newer.issue(DNS, usage=CLIENT), tmp_path, ssl.TLSVersion.TLSv1_3)


def no_file_left() -> ssl.SSLContext:
    raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))


async def gets_in(gate: Gate, issued: Issued, folder: Path, version: ssl.TLSVersion) -> bool:
    try:
        connection = await gate.connect(issued, folder, version=version)
        status, _ = await connection.get()
    except (OSError, asyncio.IncompleteReadError):
        return False
    return status == 200


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3], ids=["1.2", "1.3"])
async def test_no_session_outlives_the_authorities_that_it_was_opened_under(
    open_edge: OpenEdge, clients: Authority, tmp_path: Path, version: ssl.TLSVersion
) -> None:
    """A session that is resumed spares the look at the certificate; of TLS 1.3 none is."""
    gate = await open_edge(client_required=True)
    assert gate.edge.tls is not None
    context = ssl.create_default_context(cadata=gate.root.pem.decode())
    context.minimum_version = context.maximum_version = version
    context.load_cert_chain(*clients.issue(DNS, usage=CLIENT).write(tmp_path, "client"))

    def ask(session: ssl.SSLSession | None) -> tuple[ssl.SSLSession | None, bool | None]:
        with (
            socket.create_connection(("127.0.0.1", gate.port), timeout=10) as plain,
            context.wrap_socket(plain, server_hostname=HOST, session=session) as client,
        ):
            client.sendall(f"GET /look HTTP/1.1\r\nHost: {HOST}\r\nConnection: close\r\n\r\n".encode())
            if b" 200 OK" not in client.recv(1000):
                raise ConnectionError("hung up on")
            found = client.session, client.session_reused
            client.unwrap()
            return found

    session, _ = await asyncio.to_thread(ask, None)
    session, reused = await asyncio.to_thread(ask, session)
    (tmp_path / "clients.pem").write_bytes(Authority("newer").pem)
    await gate.edge.tls.look()
    await gate.edge.tls.look()

    assert reused is (version is ssl.TLSVersion.TLSv1_2)
    with pytest.raises(OSError):
        await asyncio.to_thread(ask, session)


async def test_a_bad_bundle_of_authorities_leaves_the_old_one(
    open_edge: OpenEdge, clients: Authority, tmp_path: Path
) -> None:
    gate = await open_edge(client_required=True)
    tls = gate.edge.tls
    assert tls is not None
    client = clients.issue(DNS, usage=CLIENT)
    (tmp_path / "clients.pem").write_bytes(client.pem)

    await tls.look()
    await tls.look()

    assert tls.authorities is not None
    assert "is not that of an authority" in (tls.authorities.fault or "")
    assert (await (await gate.connect(client, tmp_path)).get())[0] == 200


async def test_revocation_lists_that_have_ended_leave_the_old_ones(
    open_edge: OpenEdge, clients: Authority, tmp_path: Path
) -> None:
    """Past their end nobody would get in."""
    lists = tmp_path / "clients.crl"
    lists.write_bytes(clients.revoke())
    gate = await open_edge(client_crl=lists, client_required=True)
    tls = gate.edge.tls
    assert tls is not None
    lists.write_bytes(clients.revoke(ends=-dt.timedelta(hours=1)))

    await tls.look()
    await tls.look()

    assert tls.authorities is not None
    assert "a revocation list of" in (tls.authorities.fault or "")
    assert (await (await gate.connect(clients.issue(DNS, usage=CLIENT), tmp_path)).get())[0] == 200


async def test_the_caller_is_what_the_table_says(open_edge: OpenEdge, clients: Authority, tmp_path: Path) -> None:
    gate = await open_edge()
    connection = await gate.connect(clients.issue(DNS, usage=CLIENT, common="someone else"), tmp_path)

    status, seen = await connection.get()

    assert (status, seen) == (
        200,
        {"sub": "billing", "iss": "", "scope": "orders:read", "roles": ["service"], "tenant": "north"},
    )
    assert (await connection.get("/certificate"))[0] == 200
    assert (await connection.get("/token"))[0] == 401


async def test_a_certificate_that_ends_on_an_open_connection_is_no_credential_any_more(
    open_edge: OpenEdge, clients: Authority, tmp_path: Path
) -> None:
    gate = await open_edge()
    client = clients.issue(DNS, usage=CLIENT, ends=DAY)
    scheme = next(each for each in gate.edge.door.schemes if isinstance(each, ClientCertificates))
    connection = await gate.connect(client, tmp_path)
    before, _ = await connection.get()

    scheme._clock = client.certificate.not_valid_after_utc.timestamp
    after, _ = await connection.get()

    assert (before, after) == (200, 401)


def thumbprint(issued: Issued) -> str:
    """As RFC 8705 has it."""
    digest = hashlib.sha256(ssl.PEM_cert_to_DER_cert(issued.leaf_pem.decode())).digest()
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()


async def test_a_token_that_is_bound_to_a_certificate_holds_on_its_connections_alone(
    open_edge: OpenEdge, clients: Authority, tmp_path: Path
) -> None:
    async with Issuer("one") as issuer:
        gate = await open_edge(jwt=[issuer.settings()])
        own, foreign = (clients.issue("DNS:laptop.ann.example", usage=CLIENT) for _ in range(2))
        bound = issuer.token("one", cnf={"x5t#S256": thumbprint(own)}, scope="orders:read")
        statuses = {}
        for name, certificate in (("own", own), ("foreign", foreign), ("none", None), ("own again", own)):
            connection = await gate.connect(certificate, tmp_path)
            statuses[name] = [(await connection.get(token=bound))[0] for _ in range(2)]

    assert statuses == {"own": [200, 200], "foreign": [401, 401], "none": [401, 401], "own again": [200, 200]}


async def test_a_token_that_is_bound_to_a_certificate_ends_with_it_however_lately_it_was_verified(
    open_edge: OpenEdge, clients: Authority, tmp_path: Path
) -> None:
    async with Issuer("one") as issuer:
        gate = await open_edge(jwt=[issuer.settings()])
        own = clients.issue("DNS:laptop.ann.example", usage=CLIENT, ends=DAY)
        bound = issuer.token("one", cnf={"x5t#S256": thumbprint(own)}, scope="orders:read")
        scheme = next(each for each in gate.edge.door.schemes if isinstance(each, Bearer))
        connection = await gate.connect(own, tmp_path)
        before, _ = await connection.get(token=bound)

        scheme._clock = own.certificate.not_valid_after_utc.timestamp
        after, _ = await connection.get(token=bound)
        free, _ = await connection.get(token=issuer.token("one", scope="orders:read"))

    assert (before, after, free) == (200, 401, 200)


BINDINGS: dict[str, Callable[[str], object]] = {
    "of another certificate": lambda _: {"x5t#S256": "A" * 43},
    "in hex": lambda own: {"x5t#S256": base64.urlsafe_b64decode(own + "=").hex()},
    "with padding": lambda own: {"x5t#S256": own + "="},
    "in capitals": lambda own: {"x5t#S256": own.upper()},
    "cut off": lambda own: {"x5t#S256": own[:-1]},
    "empty": lambda _: {"x5t#S256": ""},
    "no text": lambda own: {"x5t#S256": [own]},
    "to a key as well": lambda own: {"x5t#S256": own, "jkt": "A" * 43},
    "to a key": lambda _: {"jkt": "A" * 43},
    "to a JWK": lambda _: {"jwk": {"kty": "oct"}},
    "to nothing": lambda _: {},
    "no object": lambda own: own,
    "null": lambda _: None,
    "SHA-1": lambda own: {"x5t": own},
}


@pytest.mark.parametrize("binding", BINDINGS.values(), ids=BINDINGS)
async def test_a_token_that_is_bound_in_another_way_is_refused(
    open_edge: OpenEdge, clients: Authority, tmp_path: Path, binding: Callable[[str], object]
) -> None:
    async with Issuer("one") as issuer:
        gate = await open_edge(jwt=[issuer.settings()])
        own = clients.issue("DNS:laptop.ann.example", usage=CLIENT)
        connection = await gate.connect(own, tmp_path)
        token = partial(issuer.token, "one", scope="orders:read")

        assert (await connection.get(token=token(cnf=binding(thumbprint(own)))))[0] == 401
        assert (await connection.get(token=token()))[0] == 200


async def test_a_page_of_another_origin_does_not_act_by_the_certificate_of_its_visitor(
    open_edge: OpenEdge, clients: Authority, tmp_path: Path
) -> None:
    gate = await open_edge()
    connection = await gate.connect(clients.issue(DNS, usage=CLIENT), tmp_path)
    origins = {"none": "", "own": f"Origin: https://{HOST}\r\n", "evil": "Origin: https://evil.example\r\n"}

    statuses = {name: (await connection.ask("POST /act", origin))[0] for name, origin in origins.items()}

    assert statuses == {"none": 200, "own": 200, "evil": 403}


async def test_a_certificate_and_a_token_must_name_one_caller(
    open_edge: OpenEdge, clients: Authority, tmp_path: Path
) -> None:
    async with Issuer("one") as issuer:
        known = [{**BILLING, "issuer": issuer.name}]
        gate = await open_edge(jwt=[issuer.settings()], clients=known)
        connection = await gate.connect(clients.issue(DNS, usage=CLIENT), tmp_path)
        token = partial(issuer.token, "one", scope="orders:read")

        alone, _ = await connection.get()
        same, seen = await connection.get(token=token(sub="billing"))
        other, _ = await connection.get(token=token(sub="ann"))

    assert (alone, same, other) == (200, 200, 401)
    assert seen["sub"] == "billing"
