"""Stripe events in the tests' hands: their bodies, signatures, and what the inbox made of them."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
import stripe
from sqlalchemy import make_url, text

from tests.shopfront import SIGNING_SECRET, Shopfront
from tmt.gateway import inbox
from tmt.gateway.inbox import InboxRow


def signed(body: str, secret: str = SIGNING_SECRET, seconds: int = 0) -> str:
    """A Stripe-Signature header made so many seconds from now."""
    at = int(time.time()) + seconds
    return stripe.WebhookSignature.generate_signature_header(body, secret, at)


def stripes_own(front: Shopfront, type_: str, object_id: str) -> str:
    """The body of the newest event of this type that Stripe has about the object."""
    for event in front.stripe.v1.events.list({"type": type_, "limit": 100}).auto_paging_iter():
        if event.data.object["id"] == object_id:
            return json.dumps(event.to_dict(for_json=True))
    raise AssertionError(f"Stripe has no {type_} about {object_id}")


def stored(front: Shopfront) -> list[InboxRow]:
    """The events in the inbox, newest first."""
    with front.shop.db.reading() as session:
        return list(inbox.newest(session, 1000, only_open=False))


def found(front: Shopfront, body: str) -> InboxRow:
    """What the inbox has of the event in this body."""
    with front.shop.db.reading() as session:
        return inbox.find(session, json.loads(body)["id"])


def run_sql(front: Shopfront, statement: str) -> None:
    """Runs a statement beside the shop's own doors."""
    with front.shop.db.engine.connect() as connection:
        connection.execute(text(statement))
        connection.commit()


@contextmanager
def without_table(front: Shopfront, table: str) -> Iterator[None]:
    """Takes a table away, so that whatever needs it really fails, and brings it back."""
    run_sql(front, f"ALTER TABLE {table} RENAME TO {table}_away")
    yield
    run_sql(front, f"ALTER TABLE {table}_away RENAME TO {table}")


@contextmanager
def without_database(front: Shopfront) -> Iterator[None]:
    """Makes the whole database unreachable for a while."""
    front.shop.db.close()
    url = make_url(front.shop.settings.database_url)
    if front.shop.db.is_sqlite:
        path = Path(str(url.database))
        kept = path.rename(path.with_suffix(".away"))
        path.mkdir()
        yield
        path.rmdir()
        kept.rename(path)
        return
    _admit(url, "false")
    yield
    _admit(url, "true")


def _admit(url: Any, connections: str) -> None:
    """Lets PostgreSQL take connections to this database, or refuse them and end those it has."""
    server = url.set(database="postgres").render_as_string(hide_password=False)
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(f'ALTER DATABASE "{url.database}" ALLOW_CONNECTIONS {connections}')
        connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s",
            (url.database,),
        )
