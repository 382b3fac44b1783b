"""Making a shop unsound, and auditing it as its operator does."""

from __future__ import annotations

from typing import Any

from sqlalchemy import update

from tests.actions import Shopfront
from tmt.catalog.models import Event, TicketType
from tmt.checkout.models import Order
from tmt.checkout.states import Trigger
from tmt.core.database import Base
from tmt.payments.intents import current_intent


def paid(front: Shopfront, *quantities: int, method: str = "pm_card_visa") -> tuple[Order, str]:
    """A paid order at rest; its PaymentIntent's id."""
    order = front.place_directly(*quantities or (2,))
    intent = current_intent(front.shop, front.gateway, order, Trigger.PAGE)
    assert intent
    front.confirm(intent.id, method)
    rest(front)
    return front.order(order.token), intent.id


def rest(front: Shopfront) -> None:
    """Stripe sends what it has to say, and the jobs do what there is to do."""
    for _ in range(2):
        front.sandbox.deliver()
        front.run_jobs()


def spoil(front: Shopfront, table: type[Base], row_id: int | None = None, **values: Any) -> None:
    """Changes a row, or all of a table, as nothing in the shop would."""
    change = update(table).values(**values)
    if row_id is not None:
        change = change.where(table.id == row_id)  # type: ignore[attr-defined]
    front.shop.db.transaction(lambda session: session.execute(change))


def without_limit(front: Shopfront) -> None:
    """Lets the event have any number of places."""
    for table in (Event, TicketType):
        spoil(front, table, capacity=None)


def audited(front: Shopfront, *options: str) -> tuple[int, list[str]]:
    """`flask audit`: its exit code and its lines."""
    said = front.app.test_cli_runner().invoke(args=["audit", *options])
    assert said.exception is None or isinstance(said.exception, SystemExit), said.exception
    return said.exit_code, said.output.splitlines()


def is_sound(front: Shopfront, *options: str) -> None:
    """Nothing is wrong, or nothing any more after a repair."""
    code, lines = audited(front, *options)
    assert (code, lines[-1]) == (0, "sound"), lines


def finds(front: Shopfront, *expected: str) -> None:
    """The audit finds these breaches, in this order, and each says what would mend it."""
    code, lines = audited(front)
    assert code == 1
    found = [line for line in lines if line[:1] == "I"]
    assert len(found) == len(expected), lines
    for line, text in zip(found, expected, strict=True):
        assert line.startswith(text[:2]), line
        assert text[2:].strip() in line, line
    assert sum(line.startswith("    to mend: ") for line in lines) == len(expected)
    assert lines[-1] == f"{len(expected)} breaches"
