"""The shop of the demo: where it is, its database, who may call it, and what to paste."""

import os
import shlex
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from .signer import HOURS, Signer

CONTRACTS = "shop.contracts"
SERVICES = ("shop.services:orders", "shop.services:inventory")
TITLE = "Example shop"
ABOUT = "Orders and stock of a small shop. The terminal that runs the demo shows a token."


def new_signer() -> Signer:
    """Who issues the tokens of a demo."""
    return Signer(issuer="demo", audience="shop", subject="you")


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


ENDS = "Each call appears below. Ctrl-C ends the demo."


def banner(address: str, token: str, *, admin: str = "", watch: Sequence[str] = (), end: str = ENDS) -> str:
    """What to do with a running demo, to be pasted into another terminal.

    Args:
        address: of the shop.
        token: for it.
        admin: where the operator's listener of the edge is.
        watch: the arguments of the `busgate` commands that show what happens inside, a line each.
        end: how to see calls and end it.
    """
    place = _curl(f"{address}/orders", token, '{"sku": "A-1", "quantity": 2}')
    read = _curl(f"{address}/orders/1", token)
    out_of_stock = _curl(f"{address}/orders", token, '{"sku": "B-2", "quantity": 1}')
    operator = f"for the operator (health, metrics): {admin}/\n" if admin else ""
    return f"""\
The example shop is open. Paste these into another terminal, in this order.

address: {address}
documentation, with a form to try each call: {address}/docs
{operator}token, good for {HOURS} hours: {token}

Place an order (201):
{place}

Read it (200):
{read}

Order what is out of stock (409):
{out_of_stock}

{_watched(watch)}{end}
"""


def _watched(commands: Sequence[str]) -> str:
    """Commands as they can be pasted: by the program that runs now, where that is no module."""
    if not commands:
        return ""
    program = sys.argv[0] if Path(sys.argv[0]).name == "busgate" else "busgate"
    return "Watch what happens inside:\n" + "".join(f"{shlex.quote(program)} {each}\n" for each in commands) + "\n"


def _curl(url: str, token: str, body: str | None = None) -> str:
    words = ["curl", "-i", url, "-H", f"Authorization: Bearer {token}"]
    if body is not None:
        words += ["-H", "Content-Type: application/json", "-d", body]
    words += ["-w", r"\n"]
    if "http_proxy" in os.environ:
        words += ["--noproxy", "*"]  # a proxy does not find this machine's loopback
    return shlex.join(words)
