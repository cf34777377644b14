"""Signed requests over a socket to a real edge, which calls a real service on the embedded bus."""

import asyncio
import json
import re
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated, Any

import aiohttp
import httpx
import pytest
import requests
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from pydantic import BaseModel

from busgate.contracts import Call, Nothing, http
from busgate.contracts.signing import Signer
from busgate.edge import EdgeSettings
from busgate.edge.testing import HttpClient, HttpHarness
from busgate.workers import Context, Service
from busgate.workers.testing import Harness

SECRET = secrets.token_urlsafe(32)
PRIVATE = Ed25519PrivateKey.generate()
PUBLIC = PRIVATE.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()


class Place(BaseModel):
    sku: str
    urgent: bool = False
    shop: Annotated[str, http.Header("X-Shop")] = ""


class Placed(BaseModel):
    sku: str
    caller: str
    shop: str = ""


place = Call("shop.orders.place.v1", http.post("/orders/{sku}"), request=Place, reply=Placed, scopes={"orders:write"})
read = Call("shop.orders.read.v1", http.get("/orders/{sku}"), request=Place, reply=Placed)
tokens_only = Call("shop.orders.drop.v1", http.delete("/orders/{sku}"), request=Place, reply=Nothing, schemes={"jwt"})
orders = Service("orders")


@orders.handles(place)
@orders.handles(read)
async def answer(request: Place, context: Context) -> Placed:
    assert context.caller is not None
    return Placed(sku=request.sku, caller=context.caller.subject, shop=request.shop)


KEYS = [
    {"keyid": "shop-1", "subject": "shop", "secret": SECRET, "scopes": ["orders:write"]},
    {"keyid": "mill-1", "subject": "mill", "public_key": PUBLIC, "scopes": ["orders:write"]},
]
LIMITS = {"header": 0.5, "body": 0.5}  # some changes make a request that never ends
SETTINGS = EdgeSettings.model_validate({"signature": {"keys": KEYS}, "limits": LIMITS})
SIGNERS = {"shop": Signer("shop-1", SECRET), "mill": Signer("mill-1", PRIVATE.sign)}


class Shop:
    """An edge, and a connection to it for raw requests."""

    def __init__(self, client: HttpClient) -> None:
        self.client = client
        self.url = client.address
        self.host = client.address.removeprefix("http://")

    def raw(self, target: str = "/orders/A-1", *, method: str = "POST", body: bytes = b"{}") -> bytes:
        """A whole signed request."""
        headers = {"Content-Type": "application/json"} if body else {}
        headers |= SIGNERS["shop"].headers(method, self.url + target, body, headers)
        lines = [f"{method} {target} HTTP/1.1", f"Host: {self.host}", *(f"{k}: {v}" for k, v in headers.items())]
        lines += [f"Content-Length: {len(body)}"] if body else []
        return "\r\n".join([*lines, "", ""]).encode() + body

    async def send(self, data: bytes) -> tuple[int, bytes]:
        """Status and body of the answer to these bytes."""
        host, _, port = self.host.partition(":")
        async with asyncio.timeout(10):
            reader, writer = await asyncio.open_connection(host, int(port))
            writer.write(data)
            head = await reader.readuntil(b"\r\n\r\n")
            length = re.search(rb"(?i)content-length: (\d+)", head)
            body = await reader.readexactly(int(length[1]) if length else 0)
            writer.close()
        return int(head.split(b" ")[1]), body


@asynccontextmanager
async def shop(busgate: Harness, busgate_http: HttpHarness) -> AsyncIterator[Shop]:
    async with (
        busgate.serving(orders),
        busgate_http.serving(place, read, tokens_only, settings=SETTINGS) as client,
    ):
        yield Shop(client)


async def test_a_signed_request_is_answered_and_its_replay_is_not(busgate: Harness, busgate_http: HttpHarness) -> None:
    async with shop(busgate, busgate_http) as edge:
        data = edge.raw()
        first, second = await edge.send(data), await edge.send(data)

    assert (first[0], json.loads(first[1])) == (200, {"sku": "A-1", "caller": "shop", "shop": ""})
    assert second[0] == 401


@pytest.mark.slow
@pytest.mark.parametrize(
    ("target", "method", "body"),
    [("/orders/A-1", "POST", b'{"urgent":false}'), ("/orders/A-1?urgent=true", "GET", b"")],
)
async def test_every_byte_of_a_signed_request_counts(
    busgate: Harness, busgate_http: HttpHarness, target: str, method: str, body: bytes
) -> None:
    """Each byte of the request line, the headers and the body with its last bit turned, one at a time."""
    async with shop(busgate, busgate_http) as edge:
        whole = await edge.send(edge.raw(target, method=method, body=body))
        statuses, changed = [], []
        for at in range(len(edge.raw(target, method=method, body=body))):
            data = edge.raw(target, method=method, body=body)
            changed.append(data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :])
            statuses.append((await edge.send(changed[-1]))[0])

    assert whole[0] == 200
    assert [changed[at][at - 20 : at + 20] for at, status in enumerate(statuses) if 200 <= status < 400] == []
    assert set(statuses) <= {400, 401, 404, 405, 408, 505}
    assert statuses.count(401) > len(statuses) / 2


def reordered(lines: list[bytes]) -> list[bytes]:
    return lines[::-1]


def shouted(lines: list[bytes]) -> list[bytes]:
    return [line.partition(b":")[0].upper() + b":" + line.partition(b":")[2] for line in lines]


def whispered(lines: list[bytes]) -> list[bytes]:
    return [line.partition(b":")[0].lower() + b":" + line.partition(b":")[2] for line in lines]


def more(lines: list[bytes]) -> list[bytes]:
    return [b"X-More: 1", *lines, b"Accept: application/json", b"X-Forwarded-For: 10.0.0.1"]


def wide(lines: list[bytes]) -> list[bytes]:
    return [line.replace(b": ", b": \t ", 1) + b" \t" if b"Length" not in line else line for line in lines]


@pytest.mark.parametrize("change", [reordered, shouted, whispered, more, wide])
async def test_what_is_not_signed_may_be_another(busgate: Harness, busgate_http: HttpHarness, change: Any) -> None:
    async with shop(busgate, busgate_http) as edge:
        head, _, body = edge.raw().partition(b"\r\n\r\n")
        line, *headers = head.split(b"\r\n")
        status, text = await edge.send(b"\r\n".join([line, *change(headers), b"", body]))

    assert (status, json.loads(text)["caller"]) == (200, "shop")


@pytest.mark.parametrize("who", SIGNERS)
async def test_requests_and_httpx_and_aiohttp_sign_with_a_signer(
    busgate: Harness, busgate_http: HttpHarness, who: str
) -> None:
    signer = SIGNERS[who]
    async with shop(busgate, busgate_http) as edge:
        by_requests = await asyncio.to_thread(
            lambda: requests.post(f"{edge.url}/orders/A-1", json={"urgent": True}, auth=signer, timeout=10)
        )
        without_body = await asyncio.to_thread(lambda: requests.get(f"{edge.url}/orders/A-1", auth=signer, timeout=10))
        async with httpx.AsyncClient(trust_env=False) as client:
            by_httpx = await client.post(f"{edge.url}/orders/A-1", json={"urgent": True}, auth=signer)
        async with aiohttp.ClientSession(middlewares=[signer.middleware]) as session:
            posted = await session.post(f"{edge.url}/orders/A-1", json={"urgent": True})
            got = await session.get(f"{edge.url}/orders/ä b?urgent=true")
            by_aiohttp = await posted.json(), await got.json()

    assert {by_requests.json()["caller"], without_body.json()["caller"], by_httpx.json()["caller"]} == {who}
    assert [(each["caller"], each["sku"]) for each in by_aiohttp] == [(who, "A-1"), (who, "ä b")]


async def test_a_header_that_the_contract_reads_is_covered_where_it_is_sent(
    busgate: Harness, busgate_http: HttpHarness
) -> None:
    careful = Signer("shop-1", SECRET, covered=("X-Shop",))
    async with shop(busgate, busgate_http) as edge, aiohttp.ClientSession() as session:
        url, sent = f"{edge.url}/orders/A-1", {"X-Shop": "seoul"}
        covered = await session.get(url, headers=sent | careful.headers("GET", url, b"", sent))
        absent = await session.get(url, headers=careful.headers("GET", url))
        added = await session.get(url, headers=sent | careful.headers("GET", url))
        changed = await session.get(url, headers={"X-Shop": "busan"} | careful.headers("GET", url, b"", sent))
        removed = await session.get(url, headers=careful.headers("GET", url, b"", sent))
        answered = await covered.json()

    assert answered["shop"] == "seoul"
    assert [each.status for each in (covered, absent, added, changed, removed)] == [200, 200, 401, 401, 401]


async def test_a_header_that_the_operator_sets_need_not_be_covered(busgate: Harness, busgate_http: HttpHarness) -> None:
    table = {"signature": {"keys": KEYS}, "headers": [{"request_set": ["X-Shop: seoul"]}]}
    async with (
        busgate.serving(orders),
        busgate_http.serving(read, settings=EdgeSettings.model_validate(table)) as client,
    ):
        url = f"{client.address}/orders/A-1"
        answered = await client.get("/orders/A-1", headers=SIGNERS["shop"].headers("GET", url), caller=None)

    assert (answered.status, answered.json()["shop"]) == (200, "seoul")


async def test_every_signature_that_does_not_hold_looks_the_same(busgate: Harness, busgate_http: HttpHarness) -> None:
    unknown, wrong = Signer("eve-1", SECRET), Signer("shop-1", "x" * 32)
    async with shop(busgate, busgate_http) as edge, aiohttp.ClientSession() as session:
        url = f"{edge.url}/orders/A-1"
        answers = []
        for headers in (
            unknown.headers("POST", url, b"{}"),
            wrong.headers("POST", url, b"{}"),
            SIGNERS["shop"].headers("POST", url, b"[]"),
            {"Signature": "x", "Signature-Input": "y"},
        ):
            sent = await session.post(url, data=b"{}", headers={"Content-Type": "application/json"} | headers)
            problem = await sent.json()
            problem.pop("instance")
            answers.append((sent.status, sent.headers.getall("WWW-Authenticate"), problem))

    assert answers[0][0] == 401
    assert 'Signature realm="busgate", error="invalid_signature"' in answers[0][1]
    assert all(each == answers[0] for each in answers)


async def test_the_body_is_not_asked_for_before_the_signature_holds(
    busgate: Harness, busgate_http: HttpHarness
) -> None:
    async with shop(busgate, busgate_http) as edge:
        head = edge.raw().partition(b"\r\n\r\n")[0] + b"\r\nExpect: 100-continue\r\n\r\n"
        refused = await edge.send(head.replace(b"created=", b"created=1"))
        held = await edge.send(head)

    assert refused[0] == 401
    assert held[0] == 100


async def test_a_token_and_a_signature_that_name_two_callers_are_refused(
    busgate: Harness, busgate_http: HttpHarness
) -> None:
    async with shop(busgate, busgate_http) as edge:
        url = f"{edge.url}/orders/A-1"
        both = await edge.client.get("/orders/A-1", headers=SIGNERS["shop"].headers("GET", url))

    assert both.status == 401


async def test_a_contract_of_tokens_alone_takes_no_signature(busgate: Harness, busgate_http: HttpHarness) -> None:
    async with shop(busgate, busgate_http) as edge:
        url = f"{edge.url}/orders/A-1"
        refused = await edge.client.delete("/orders/A-1", headers=SIGNERS["shop"].headers("DELETE", url), caller=None)

    assert refused.status == 401
    assert "Signature" not in refused.headers["WWW-Authenticate"]


async def test_scopes_are_those_of_the_key(busgate: Harness, busgate_http: HttpHarness) -> None:
    table = {"signature": {"keys": [{"keyid": "shop-1", "subject": "shop", "secret": SECRET}]}}
    async with busgate.serving(orders), busgate_http.serving(place, settings=EdgeSettings(**table)) as client:
        url = f"{client.address}/orders/A-1"
        headers = SIGNERS["shop"].headers("POST", url, b"{}")
        refused = await client.post("/orders/A-1", b"{}", headers=headers, caller=None)

    assert refused.status == 403
