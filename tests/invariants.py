"""What must be true of a shop at rest (docs: I1 to I4), asked of its database and its Stripe."""

from __future__ import annotations

from collections import Counter

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from tests.actions import Shopfront
from tmt.catalog.models import Event, TicketType
from tmt.checkout.models import Order, OrderLine
from tmt.checkout.states import HELD, PAID, PROCESSING
from tmt.core.db import Database
from tmt.core.outbox import OutboxRow
from tmt.payments.models import Payment
from tmt.tickets.models import VALID, Ticket


def check_stock(db: Database) -> None:
    """I1: nothing is sold twice, and what is held and sold is what the orders say."""
    with db.reading() as session:
        held, sold = _places(session, HELD, PROCESSING), _places(session, PAID)
        for event in session.scalars(select(Event)):
            types = event.ticket_types
            rows: list[tuple[Event | TicketType, list[int]]] = [(event, [t.id for t in types])]
            rows += [(ticket_type, [ticket_type.id]) for ticket_type in types]
            for row, ids in rows:
                assert (row.held, row.sold) == (
                    sum(held[i] for i in ids),
                    sum(sold[i] for i in ids),
                )
                assert row.capacity is None or row.held + row.sold <= row.capacity


def check_tickets(db: Database) -> None:
    """I3: a valid ticket for each paid place, numbered without gap, and none besides."""
    with db.reading() as session:
        for order in session.scalars(select(Order)):
            query = select(Ticket).where(Ticket.order_id == order.id, Ticket.status == VALID)
            tickets = session.scalars(query.order_by(Ticket.number)).all()
            expected = order.places if order.status == PAID else {}
            assert Counter(t.ticket_type_id for t in tickets) == Counter(expected), order.status
            assert [t.number for t in tickets] == list(range(1, len(tickets) + 1))


def check_money(front: Shopfront) -> None:
    """I2: what Stripe has of an order, less what it gave back, is the order's total if it is paid.

    I4: and for each paid order there is exactly one confirmation to send.
    """
    with front.shop.db.reading() as session:
        orders = {order.id: order for order in session.scalars(select(Order))}
        net = dict.fromkeys(orders, 0)
        for payment in session.scalars(select(Payment).where(Payment.payment_intent.is_not(None))):
            net[payment.order_id] += _net_at_stripe(front, payment.payment_intent or "")
        for order in orders.values():
            assert net[order.id] == (order.total if order.status == PAID else 0), order.status
        confirmations = session.scalar(select(func.count()).where(OutboxRow.kind == "confirmation"))
    assert confirmations == sum(o.paid_at is not None for o in orders.values())


def _net_at_stripe(front: Shopfront, payment_intent: str) -> int:
    charges = front.stripe.v1.charges.list({"payment_intent": payment_intent}).data
    return sum(c.amount_captured - c.amount_refunded for c in charges)


def _places(session: Session, *statuses: str) -> Counter[int]:
    query = (
        select(OrderLine.ticket_type_id, func.sum(OrderLine.quantity))
        .join(Order, Order.id == OrderLine.order_id)
        .where(Order.status.in_(statuses))
        .group_by(OrderLine.ticket_type_id)
    )
    return Counter({type_id: int(count) for type_id, count in session.execute(query)})
