"""Thousands of orders at once: their rows, and the objects that a sandbox has of them.

They are written in bulk, as copies of one order that was made through the front door.
"""

from __future__ import annotations

import http.client
import json
from base64 import b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import insert, select

from tests.benchmarks.bench_env import BenchEnv
from tests.sandbox_store import writing
from tests.shopfront import SECRET_KEY, Shopfront, open_shop
from tmt.catalog.models import Event, TicketType
from tmt.checkout.models import Order, OrderLine, OrderStatus
from tmt.checkout.states import Trigger
from tmt.core import schema
from tmt.core.database import Base, Database, table_of
from tmt.core.ids import new_order_code, new_ticket_code, new_token
from tmt.core.outbox import OutboxRow
from tmt.payments.intents import current_intent
from tmt.payments.models import Payment
from tmt.tickets.models import Ticket

PLACES = 2
_CHUNK = 5000


@contextmanager
def opened_shop(env: BenchEnv, kind: str) -> Iterator[Shopfront]:
    """A shop on a sandbox, each on a server of its own in this process, with room for everybody."""
    url = env.empty_database(kind)
    database = Database(url)
    schema.migrate(database)
    database.close()
    front = open_shop(url, env.folder(), {"log_level": "ERROR"})
    front.silence_stripe()

    def without_limit(session: Any) -> None:
        for table in (Event, TicketType):
            session.execute(table_of(table).update().values(capacity=None))

    front.shop.db.transaction(without_limit)
    try:
        yield front
    finally:
        front.close()


def fill(front: Shopfront, count: int, status: str, *, at_stripe: bool = True) -> None:
    """So many orders more, held or paid, each with its payment, its tickets, its confirmation."""
    order = front.place_directly(PLACES)
    intent = current_intent(front.shop, front.gateway, order, Trigger.PAGE)
    assert intent
    if status == OrderStatus.PAID:
        front.confirm(intent.id)
        current_intent(front.shop, front.gateway, front.order(order.code), Trigger.RETURN_PAGE)
        front.run_jobs()
    rows = _rows_of(front, order.id)
    for first in range(0, count, _CHUNK):
        numbers = range(first, min(first + _CHUNK, count))
        front.shop.db.transaction(lambda s, n=numbers: _write(s, rows, n))
    front.shop.db.transaction(lambda s: _count(s, front.event.id, count * PLACES, status))
    if at_stripe:
        _write_at_stripe(front, intent.id, count)


def _rows_of(front: Shopfront, order_id: int) -> dict[type[Base], list[dict[str, Any]]]:
    """The rows of the one order that stands for all."""
    with front.shop.db.reading() as session:
        order = session.get_one(Order, order_id)
        key = f"confirmation-{order.token}"
        found = {
            Order: select(Order).where(Order.id == order_id),
            OrderLine: select(OrderLine).where(OrderLine.order_id == order_id),
            Payment: select(Payment).where(Payment.order_id == order_id),
            Ticket: select(Ticket).where(Ticket.order_id == order_id),
            OutboxRow: select(OutboxRow).where(OutboxRow.key == key),
        }
        return {table: [_plain(row) for row in session.scalars(q)] for table, q in found.items()}


def _plain(row: Base) -> dict[str, Any]:
    return {column.key: getattr(row, column.key) for column in table_of(type(row)).columns}


def _write(session: Any, rows: dict[type[Base], list[dict[str, Any]]], numbers: range) -> None:
    """Copies of the rows, one for each number; the copies' ids are far from all others."""
    copies: dict[type[Base], list[dict[str, Any]]] = {table: [] for table in rows}
    for number in numbers:
        order_id, token = 1_000_000 + rows[Order][0]["id"] * 1_000_000 + number, new_token()
        fresh: dict[type[Base], dict[str, Any]] = {
            Order: {"id": order_id, "code": new_order_code(), "token": token}
            | {"checkout_token": new_token()},
            OrderLine: {"order_id": order_id},
            Payment: {"order_id": order_id, "payment_intent_id": f"pi_bulk{order_id}"}
            | {"idempotency_key": f"bulk-{order_id}"},
            OutboxRow: {"key": f"confirmation-{token}", "payload": {"order": order_id}},
        }
        for table, originals in rows.items():
            for row in originals:
                values = {k: v for k, v in row.items() if k != "id"} | fresh.get(table, {})
                if table is Ticket:
                    values |= {"order_id": order_id, "code": new_ticket_code()}
                copies[table].append(values)
    for table, values in copies.items():
        if values:
            session.execute(insert(table_of(table)), values)


def _count(session: Any, event_id: int, places: int, status: str) -> None:
    event = session.get_one(Event, event_id)
    for row in (event, event.ticket_types[0]):
        if status == OrderStatus.HELD:
            row.held += places
        else:
            row.sold += places


def _write_at_stripe(front: Shopfront, payment_intent: str, count: int) -> None:
    """Copies of the PaymentIntent, under the ids of the copies of its payment."""
    with front.shop.db.reading() as session:
        payments = select(Payment.payment_intent_id).order_by(Payment.id.desc()).limit(count)
        ids = session.scalars(payments).all()
    with writing(front) as connection:
        query = "SELECT created, body FROM objects WHERE id = ?"
        created, body = connection.execute(query, (payment_intent,)).fetchone()
        shown = json.loads(body)
        connection.executemany(
            "INSERT INTO objects (id, kind, created, body) VALUES (?, 'payment_intent', ?, ?)",
            ((i, created, json.dumps(shown | {"id": i})) for i in ids),
        )


def bare_reading(front: Shopfront, kinds: tuple[str, ...]) -> int:
    """Reads these lists of Stripe's to their end with nothing but HTTP and JSON; objects read."""
    host = front.stripe_url.removeprefix("http://")
    headers = {"Authorization": f"Basic {b64encode(f'{SECRET_KEY}:'.encode()).decode()}"}
    line, read = http.client.HTTPConnection(host), 0
    for kind in kinds:
        after = ""
        while True:
            line.request("GET", f"/v1/{kind}?limit=100{after}", headers=headers)
            page = json.loads(line.getresponse().read())
            read += len(page["data"])
            if not page["has_more"]:
                break
            after = f"&starting_after={page['data'][-1]['id']}"
    line.close()
    return read
