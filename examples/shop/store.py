"""The shop's data: one SQLite file, so that all workers of the shop see the same orders.

Its place is the environment variable SHOP_DB. One database for two services keeps the example short; services
of your own would each have theirs.
"""

import os
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

DELIVERED = {"A-1": 5, "B-2": 0}
"""What the shop sells, and how much of it came in. What is available is this less what was ordered."""

_ORDERED = "(SELECT coalesce(sum(quantity), 0) FROM orders WHERE sku = :sku)"


def available(sku: str) -> int | None:
    """How much can be ordered; None: the shop does not sell it."""
    if sku not in DELIVERED:
        return None
    with _database() as database:
        (ordered,) = database.execute(f"SELECT {_ORDERED}", {"sku": sku}).fetchone()
    return int(DELIVERED[sku] - ordered)


def place(customer: str, sku: str, quantity: int) -> int | None:
    """Order, and return the order's id; None: not enough is left. Only one of two can take the last."""
    values = {"customer": customer, "sku": sku, "quantity": quantity, "delivered": DELIVERED.get(sku, 0)}
    with _database() as database:
        cursor = database.execute(
            "INSERT INTO orders (customer, sku, quantity) SELECT :customer, :sku, :quantity "
            f"WHERE {_ORDERED} + :quantity <= :delivered",
            values,
        )
    return cursor.lastrowid if cursor.rowcount else None


def read(customer: str, order_id: int) -> tuple[str, int] | None:
    """The sku and quantity of a customer's order."""
    with _database() as database:
        row: tuple[str, int] | None = database.execute(
            "SELECT sku, quantity FROM orders WHERE id = ? AND customer = ?", (order_id, customer)
        ).fetchone()
    return row


@contextmanager
def _database() -> Iterator[sqlite3.Connection]:
    """A transaction. SQLite lets processes and threads share the file, each with a connection of its own."""
    path = os.environ.get("SHOP_DB") or Path(tempfile.gettempdir(), f"busgate-shop-{os.getuid()}.db")
    database = sqlite3.connect(path, timeout=5)
    try:
        with database:
            database.execute(
                "CREATE TABLE IF NOT EXISTS orders "
                "(id INTEGER PRIMARY KEY AUTOINCREMENT, customer TEXT, sku TEXT, quantity INTEGER)"
            )
            yield database
    finally:
        database.close()
