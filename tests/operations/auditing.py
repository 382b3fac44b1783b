"""Corrupting a shop's rows, and auditing it as its operator does."""

from __future__ import annotations

from typing import Any

from sqlalchemy import ColumnElement, delete, update

from tests.shopfront import Shopfront
from tmt.catalog.models import Event, TicketType
from tmt.checkout.models import Order
from tmt.checkout.states import Trigger
from tmt.core.database import Base
from tmt.payments.intents import current_intent


def begin_payment(front: Shopfront, *quantities: int) -> tuple[Order, str]:
    """A held order with a PaymentIntent; its id."""
    order = front.place_directly(*quantities or (2,))
    intent = current_intent(front.shop, front.gateway, order, Trigger.PAGE)
    assert intent
    return order, intent.id


def pay(front: Shopfront, *quantities: int, method: str = "pm_card_visa") -> tuple[Order, str]:
    """A paid order, with all its events handled and mails sent; its PaymentIntent's id."""
    order, payment_intent = begin_payment(front, *quantities)
    front.confirm(payment_intent, method)
    drain(front)
    return front.order(order.token), payment_intent


def drain(front: Shopfront) -> None:
    """Stripe delivers its events, and the jobs handle all that is due."""
    for _ in range(2):
        front.sandbox.deliver()
        front.run_jobs()


def corrupt(front: Shopfront, table: type[Base], row_id: int | None = None, **values: Any) -> None:
    """Changes one row, or all of a table, as no code of the shop does."""
    change = update(table).values(**values)
    if row_id is not None:
        change = change.where(table.id == row_id)  # type: ignore[attr-defined]
    front.shop.db.transaction(lambda session: session.execute(change))


def remove(front: Shopfront, table: type[Base], *where: ColumnElement[bool]) -> None:
    """Deletes rows, as no code of the shop does."""
    statement = delete(table).where(*where)
    front.shop.db.transaction(lambda session: session.execute(statement))


def remove_capacity(front: Shopfront) -> None:
    """Makes the number of tickets unlimited."""
    for table in (Event, TicketType):
        corrupt(front, table, capacity=None)


def run_audit(front: Shopfront, *options: str) -> tuple[int, list[str]]:
    """`flask audit`: its exit code and its lines."""
    result = front.app.test_cli_runner().invoke(args=["audit", *options])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result.exit_code, result.output.splitlines()


def assert_sound(front: Shopfront, *options: str) -> None:
    """The audit finds nothing, or with `--repair` nothing after the repair."""
    code, lines = run_audit(front, *options)
    assert (code, lines[-1]) == (0, "sound"), lines


def assert_breaches(front: Shopfront, *expected: str) -> None:
    """The audit finds these breaches, in this order, and each says how to fix it.

    An expected text begins with the invariant; the rest is a part of the printed line.
    """
    code, lines = run_audit(front)
    assert code == 1
    breaches = [line for line in lines if line[:1] == "I"]
    assert len(breaches) == len(expected), lines
    for line, text in zip(breaches, expected, strict=True):
        assert line.startswith(text[:2]), line
        assert text[2:].strip() in line, line
    assert sum(line.startswith("    to fix: ") for line in lines) == len(expected)
    assert lines[-1] == f"{len(expected)} breaches"
