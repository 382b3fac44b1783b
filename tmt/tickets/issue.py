"""Issuing tickets, and making them void."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import insert, select, update
from sqlalchemy.orm import Session

from tmt.checkout.models import Order
from tmt.core.db import table_of
from tmt.core.ids import new_ticket_code
from tmt.tickets.models import BLOCKED, VALID, VOID, Ticket


def issue(session: Session, order: Order, now: datetime) -> None:
    """One ticket for each place of the order, in the transaction that pays it.

    A second call for the same order meets the unique (order, number) and fails.
    """
    places = ((line, place) for line in order.lines for place in range(line.quantity))
    rows = [
        {
            "code": new_ticket_code(),
            "order_id": order.id,
            "event_id": order.event_id,
            "ticket_type_id": line.ticket_type_id,
            "number": number,
            "type_name": line.name,
            "price": line.unit_price,
            "holder": (line.holders[place] if place < len(line.holders) else "") or order.name,
            "status": VALID,
            "issued_at": now,
        }
        for number, (line, place) in enumerate(places, 1)
    ]
    session.execute(_INSERT, rows)


# Of the table: nobody asks for objects of these rows, and all of them go in one statement.
_INSERT = insert(table_of(Ticket))


def tickets_of(session: Session, order_id: int) -> Sequence[Ticket]:
    """The order's tickets by number, void ones too."""
    query = select(Ticket).where(Ticket.order_id == order_id).order_by(Ticket.number)
    return session.scalars(query).all()


def void(session: Session, order_id: int, numbers: Sequence[int] | None) -> dict[int, int]:
    """Makes tickets of the order void, all of them or those of these numbers.

    Returns the places that this frees: how many of which ticket type, as stock.py takes it.
    """
    query = select(Ticket).where(Ticket.order_id == order_id, Ticket.status != VOID)
    if numbers is not None:
        query = query.where(Ticket.number.in_(numbers))
    tickets = session.scalars(query).all()
    for ticket in tickets:
        ticket.status = VOID
    return dict(Counter(ticket.ticket_type_id for ticket in tickets))


def block(session: Session, order_id: int) -> None:
    """Has the order's valid tickets open no door for now."""
    _turn(session, order_id, VALID, BLOCKED)


def unblock(session: Session, order_id: int) -> None:
    """Makes the order's blocked tickets valid again."""
    _turn(session, order_id, BLOCKED, VALID)


def _turn(session: Session, order_id: int, before: str, after: str) -> None:
    session.execute(
        update(Ticket)
        .where(Ticket.order_id == order_id, Ticket.status == before)
        .values(status=after)
    )
