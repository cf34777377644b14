"""`busgate sign`, and signed requests as people send them: by curl, and by the example in Node."""

import asyncio
import shutil
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from pydantic import BaseModel
from support.command import Run

from busgate.contracts import Call, http
from busgate.edge import EdgeSettings
from busgate.edge.testing import HttpHarness
from busgate.workers import Context, Service
from busgate.workers.testing import Harness

ROOT = Path(__file__).parents[2]
SECRET = "0123456789abcdef" * 2
URL = "https://api.shop.example/orders?limit=1"
PRIVATE = Ed25519PrivateKey.generate()
PUBLIC = PRIVATE.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()


class Place(BaseModel):
    sku: str


class Placed(BaseModel):
    sku: str
    caller: str


place = Call("shop.orders.place.v1", http.post("/orders"), request=Place, reply=Placed)
read = Call("shop.orders.read.v1", http.get("/orders/{sku}"), request=Place, reply=Placed)
orders = Service("orders")


@orders.handles(place)
@orders.handles(read)
async def answer(request: Place, context: Context) -> Placed:
    assert context.caller is not None
    return Placed(sku=request.sku, caller=context.caller.subject)


@asynccontextmanager
async def serving(busgate: Harness, busgate_http: HttpHarness) -> AsyncIterator[str]:
    keys = [
        {"keyid": "shop-1", "subject": "shop", "secret": SECRET},
        {"keyid": "mill-1", "subject": "mill", "public_key": PUBLIC},
    ]
    settings = EdgeSettings.model_validate({"signature": {"keys": keys}})
    async with busgate.serving(orders), busgate_http.serving(place, read, settings=settings) as client:
        yield client.address


def private_file(path: Path, text: str) -> str:
    path.write_text(text)
    path.chmod(0o600)
    return str(path)


def pem(private: Ed25519PrivateKey = PRIVATE) -> str:
    return private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


async def shell(*command: str, text: str | None = None) -> str:
    """What a command of the shell says on stdout."""
    made = await asyncio.to_thread(
        lambda: subprocess.run(command, input=text, capture_output=True, text=True, timeout=30, check=False)
    )
    assert made.returncode == 0, made.stderr
    return made.stdout


def test_the_headers_are_printed_a_line_each(run: Run) -> None:
    done = run("sign", "post", URL, "--keyid=k", "--data={}", "--header=X-Shop: a", BUSGATE_SIGN_SECRET=SECRET)

    names = [line.partition(": ")[0] for line in done.stdout.splitlines()]
    assert (done.returncode, done.stderr) == (0, "")
    assert names == ["X-Shop", "Content-Type", "Content-Digest", "Signature-Input", "Signature"]
    assert '("@method" "@authority" "@path" "@query" "x-shop" "content-type" "content-digest")' in done.stdout.replace(
        '"content-type" "x-shop"', '"x-shop" "content-type"'
    )


@pytest.mark.parametrize("source", ["environment", "file", "private key"])
async def test_the_curl_line_is_answered_as_it_is_printed_and_once(
    busgate: Harness, busgate_http: HttpHarness, run: Run, folder: Path, source: str
) -> None:
    options, environ = {
        "environment": (["--keyid=shop-1", "--secret-env=S"], {"S": SECRET}),
        "file": (["--keyid=shop-1", "--secret", private_file(folder / "secret", SECRET + "\n")], {}),
        "private key": (["--keyid=mill-1", "--private-key", private_file(folder / "key.pem", pem())], {}),
    }[source]
    async with serving(busgate, busgate_http) as address:
        told = await asyncio.to_thread(
            lambda: run("sign", "POST", f"{address}/orders", "--curl", "--data", '{"sku":"it\'s"}', *options, **environ)
        )
        line = told.stdout.strip().replace("curl ", "curl --silent --show-error --write-out '%{http_code}' ", 1)
        first, second = await shell("sh", "-c", line), await shell("sh", "-c", line)

    assert first == '{"sku":"it\'s","caller":"' + ("mill" if source == "private key" else "shop") + '"}200'
    assert second.endswith("401")


async def test_a_body_is_read_from_a_file_or_a_pipe(run: Run, folder: Path) -> None:
    (folder / "body.json").write_text('{"sku":"A"}')
    command = ("sign", "POST", URL, "--keyid=k", "--data")
    of_file = run(*command, "@body.json", BUSGATE_SIGN_SECRET=SECRET)
    of_text = run(*command, '{"sku":"A"}', BUSGATE_SIGN_SECRET=SECRET)

    digests = [
        [line for line in done.stdout.splitlines() if line.startswith("Content-Digest")] for done in (of_file, of_text)
    ]
    assert digests[0] == digests[1] != []


async def test_the_example_in_node_signs(busgate: Harness, busgate_http: HttpHarness) -> None:
    node = shutil.which("node")
    assert node is not None, "no Node.js for the tests: install node 20 or newer"
    script = str(ROOT / "examples" / "node" / "sign.js")
    async with serving(busgate, busgate_http) as address:
        command = ["env", f"SHOP_SECRET={SECRET}", node, script]
        posted = await shell(*command, "POST", f"{address}/orders", "shop-1", '{"sku":"ä"}')
        got = await shell(*command, "GET", f"{address}/orders/A%20b", "shop-1")
        refused = await shell(*command, "GET", f"{address}/orders/A", "eve-1")

    assert posted == '200 {"sku":"ä","caller":"shop"}\n'
    assert got == '200 {"sku":"A b","caller":"shop"}\n'
    assert refused.startswith("401 ")


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (["GET", URL, "--keyid=k"], "no key"),
        (["GET", URL, "--keyid=k", "--secret=nowhere"], "nowhere: No such file"),
        (["GET", URL, "--keyid=k", "--secret=open"], "can be read by everyone"),
        (["GET", URL, "--keyid=k", "--secret=short"], "at least 32 bytes"),
        (["GET", URL, "--keyid=k", "--private-key=short"], "not a private key"),
        (["GET", URL, "--keyid=k", "--private-key=binary"], "not a private key"),
        (["GET", "/orders", "--keyid=k", "--secret=good"], "the URL"),
        (["GET", "https://shop.example/ä", "--keyid=k", "--secret=good"], "the URL"),
        (["GET", URL, '--keyid="', "--secret=good"], "plain ASCII"),
        (["GET", URL, "--keyid=k", "--secret=good", "--header=X"], "a header is needed"),
        (["GET", URL, "--keyid=k", "--secret=good", "--data=@nowhere"], "No such file"),
        (["GET", URL, "--keyid=k", "--secret=good", "--curl", "--data=@binary"], "not text"),
        (["GET", URL], "--keyid"),
    ],
)
def test_what_cannot_be_signed_is_one_line(run: Run, folder: Path, arguments: list[str], why: str) -> None:
    private_file(folder / "short", "short")
    private_file(folder / "good", SECRET)
    (folder / "open").write_text(SECRET)
    (folder / "open").chmod(0o644)
    (folder / "binary").write_bytes(b"\xff\xfe")
    (folder / "binary").chmod(0o600)

    done = run("sign", *arguments)

    assert (done.returncode, done.stdout) == (2, "")
    assert why in done.stderr
    assert "Traceback" not in done.stderr
    assert SECRET not in done.stderr
