"""The sandbox's file, read and changed from outside: for states that its API does not lead to."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from tests.shopfront import Shopfront


def objects_of(store: Path, kind: str) -> list[dict[str, Any]]:
    """All objects of the kind that the sandbox has; no fault comes between."""
    with closing(sqlite3.connect(f"{store.as_uri()}?mode=ro", uri=True, timeout=60)) as opened:
        rows = opened.execute("SELECT body FROM objects WHERE kind = ?", (kind,)).fetchall()
    return [json.loads(body) for (body,) in rows]


@contextmanager
def writing(front: Shopfront) -> Iterator[sqlite3.Connection]:
    """A transaction on the file of the shop's sandbox."""
    with writing_to(front.stripe_store) as connection:
        yield connection


@contextmanager
def writing_to(store: Path) -> Iterator[sqlite3.Connection]:
    """A transaction on a sandbox's file."""
    with closing(sqlite3.connect(store, timeout=10)) as connection, connection:
        yield connection


def change_at_stripe(front: Shopfront, object_id: str, **changed: Any) -> None:
    """Changes what Stripe holds of an object; of every PaymentIntent for the id "pi_%"."""
    change_object(front.stripe_store, object_id, **changed)


def change_object(store: Path, object_id: str, **changed: Any) -> None:
    """The same in the sandbox with this file."""
    with writing_to(store) as connection:
        for name, value in changed.items():
            connection.execute(
                "UPDATE objects SET body = json_set(body, ?, json(?)) WHERE id LIKE ?",
                (f"$.{name}", json.dumps(value), object_id),
            )


def forget_at_stripe(front: Shopfront, object_id: str) -> None:
    """Has Stripe know nothing of the object any more."""
    with writing(front) as connection:
        connection.execute("DELETE FROM objects WHERE id = ?", (object_id,))
