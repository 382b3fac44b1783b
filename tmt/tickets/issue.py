"""Issues tickets, and makes them void, blocked or valid again."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import insert, select, update
from sqlalchemy.orm import Session

from tmt.checkout.models import Order, OrderKey
from tmt.core.database import table_of
from tmt.core.ids import new_ticket_code
from tmt.tickets.models import Ticket, TicketStatus


def issue(session: Session, order: Order, now: datetime) -> None:
    """Issues the order's tickets, in the transaction that makes it paid.

    A second call for the same order violates the unique (order, number) and raises
    `IntegrityError`.
    """
    lines = ((line, index) for line in order.lines for index in range(line.quantity))
    rows = [
        {
            "code": new_ticket_code(),
            "order_id": order.id,
            "event_id": order.event_id,
            "ticket_type_id": line.ticket_type_id,
            "number": number,
            "type_name": line.name,
            "price": line.unit_price,
            "holder": (line.holders[index] if index < len(line.holders) else "") or order.name,
            "status": TicketStatus.VALID,
            "issued_at": now,
        }
        for number, (line, index) in enumerate(lines, 1)
    ]
    session.execute(_INSERT, rows)


# On the table: no objects are needed, and all rows go in one statement.
_INSERT = insert(table_of(Ticket))


def get_tickets(session: Session, order_id: int) -> Sequence[Ticket]:
    """The order's tickets by number, void ones too."""
    query = select(Ticket).where(Ticket.order_id == order_id).order_by(Ticket.number)
    return session.scalars(query).all()


def orders_with_tickets(session: Session, order_ids: Sequence[int]) -> set[int]:
    """Which of these orders have tickets that are valid."""
    query = select(Ticket.order_id).where(Ticket.status == TicketStatus.VALID)
    return set(session.scalars(query.where(Ticket.order_id.in_(order_ids))))


def void(session: Session, order_id: int, numbers: Sequence[int] | None) -> dict[int, int]:
    """Makes tickets of the order void, all of them or those of these numbers.

    Returns the number of void tickets by ticket type id, as `stock.py` takes it.
    """
    query = select(Ticket).where(Ticket.order_id == order_id, Ticket.status != TicketStatus.VOID)
    if numbers is not None:
        query = query.where(Ticket.number.in_(numbers))
    tickets = session.scalars(query).all()
    for ticket in tickets:
        ticket.status = TicketStatus.VOID
    _change_buyers_share(session, order_id, -len(tickets))
    return dict(Counter(ticket.ticket_type_id for ticket in tickets))


def block(session: Session, order_id: int) -> None:
    """Blocks the order's valid tickets, which are not valid for entry until they are unblocked."""
    _change_status(session, order_id, TicketStatus.VALID, TicketStatus.BLOCKED)


def unblock(session: Session, order_id: int) -> None:
    """Makes the order's blocked tickets valid again."""
    _change_status(session, order_id, TicketStatus.BLOCKED, TicketStatus.VALID)


def make_valid(session: Session, order_id: int, numbers: Sequence[int]) -> None:
    """Makes void tickets of the order valid again; the caller has taken them out of the sale."""
    session.execute(
        update(Ticket)
        .where(Ticket.order_id == order_id, Ticket.number.in_(numbers))
        .values(status=TicketStatus.VALID)
    )
    _change_buyers_share(session, order_id, len(numbers))


def _change_buyers_share(session: Session, order_id: int, tickets: int) -> None:
    """Lets what its buyer has of the event, for limits, follow the order's tickets."""
    count = OrderKey.tickets + tickets
    session.execute(update(OrderKey).where(OrderKey.order_id == order_id).values(tickets=count))


def _change_status(
    session: Session, order_id: int, before: TicketStatus, after: TicketStatus
) -> None:
    session.execute(
        update(Ticket)
        .where(Ticket.order_id == order_id, Ticket.status == before)
        .values(status=after)
    )
