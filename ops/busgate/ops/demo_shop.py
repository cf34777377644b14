"""The shop of the demo: where it is, its database, and a token for it that is good for hours."""

import os
import secrets
import shlex
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

import jwt

from busgate.contracts import Catalog

CONTRACTS = "shop.contracts"
SERVICES = ("shop.services:orders", "shop.services:inventory")
ISSUER, AUDIENCE, CUSTOMER = "demo", "shop", "you"
HOURS = 12


@dataclass(frozen=True, slots=True)
class Signer:
    """Issues the tokens of one demo. Its secret is new each time and only in the memory of its processes."""

    secret: str = field(default_factory=lambda: secrets.token_urlsafe(32), repr=False)

    @property
    def issuer(self) -> dict[str, object]:
        """As a table [[edge.jwt]]."""
        return {"issuer": ISSUER, "audience": [AUDIENCE], "keys": [{"secret": self.secret}]}

    def token(self, catalog: Catalog) -> str:
        """A token that may do all that the contracts know."""
        now = int(time.time())
        claims = {
            "iss": ISSUER,
            "aud": AUDIENCE,
            "sub": CUSTOMER,
            "iat": now,
            "exp": now + HOURS * 3600,
            "scope": " ".join(sorted({scope for call in catalog for scope in call.scopes})),
        }
        return jwt.encode(claims, self.secret, "HS256")


def shop_folder() -> Path:
    """The folder that holds the package `shop`: beside this file in a wheel, else in the checkout."""
    here = Path(__file__).resolve()
    candidates = here.parent / "examples", here.parents[3] / "examples"
    return next(folder for folder in candidates if (folder / "shop" / "contracts.py").is_file())


@contextmanager
def open_shop() -> Iterator[Path]:
    """Make the shop importable, with an empty database that is deleted at the end."""
    folder = shop_folder()
    sys.path.insert(0, str(folder))
    with TemporaryDirectory(prefix="busgate-demo-") as scratch:
        os.environ["SHOP_DB"] = str(Path(scratch, "shop.db"))
        yield folder


def banner(address: str, token: str) -> str:
    """What to do with a running demo, to be pasted into another terminal."""
    place = _curl(f"{address}/orders", token, '{"sku": "A-1", "quantity": 2}')
    read = _curl(f"{address}/orders/1", token)
    out_of_stock = _curl(f"{address}/orders", token, '{"sku": "B-2", "quantity": 1}')
    return f"""\
The example shop is open. Paste these into another terminal, in this order.

address: {address}
token, good for {HOURS} hours: {token}

Place an order (201):
{place}

Read it (200):
{read}

Order what is out of stock (409):
{out_of_stock}

Each call appears below. Ctrl-C ends the demo.
"""


def _curl(url: str, token: str, body: str | None = None) -> str:
    words = ["curl", "-i", url, "-H", f"Authorization: Bearer {token}"]
    if body is not None:
        words += ["-H", "Content-Type: application/json", "-d", body]
    words += ["-w", r"\n"]
    if "http_proxy" in os.environ:
        words += ["--noproxy", "*"]  # a proxy does not find this machine's loopback
    return shlex.join(words)
