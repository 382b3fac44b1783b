"""What must be true of a shop at rest (docs: I1 to I4), asked of its database and its Stripe.

The audit's own checks are asked, and beside them what can be counted in another way.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from tests.actions import Shopfront
from tmt.catalog.models import Event
from tmt.checkout.models import Order, OrderStatus
from tmt.core.database import Database
from tmt.core.outbox import OutboxRow
from tmt.operations import audit_database
from tmt.operations.audit import Breach, audit
from tmt.payments.balances import get_refunds, is_disputed, net_paid
from tmt.payments.models import COUNTED_REFUNDS, Payment
from tmt.tickets.models import Ticket, TicketStatus


def check_stock(db: Database) -> None:
    """I1: nothing is sold twice, and what is held and sold is what the orders say."""
    with db.reading() as session:
        _none(audit_database.stock_breaches(session))
        for event in session.scalars(select(Event)):
            held = _places(session, event, OrderStatus.HELD, OrderStatus.PROCESSING)
            standing = select(func.count()).select_from(Ticket)
            query = standing.where(Ticket.event_id == event.id, Ticket.status != TicketStatus.VOID)
            assert (event.held, event.sold) == (held, session.scalar(query))
            assert event.capacity is None or event.held + event.sold <= event.capacity


def check_tickets(db: Database) -> None:
    """I3: a ticket for each paid place, numbered without gap, void when it was given back."""
    with db.reading() as session:
        _none(audit_database.ticket_breaches(session))
        for order in session.scalars(select(Order)):
            query = select(Ticket).where(Ticket.order_id == order.id).order_by(Ticket.number)
            tickets = session.scalars(query).all()
            expected = (
                order.quantities
                if order.status in (OrderStatus.PAID, OrderStatus.REFUNDED) and order.paid_at
                else {}
            )
            assert Counter(t.ticket_type_id for t in tickets) == Counter(expected), order.status
            assert [t.number for t in tickets] == list(range(1, len(tickets) + 1))
            statuses = {ticket.status for ticket in tickets}
            assert order.status == OrderStatus.PAID or statuses <= {TicketStatus.VOID}, order.status
            assert TicketStatus.BLOCKED not in statuses or is_disputed(session, order.id)


def check_money(front: Shopfront) -> None:
    """I2: what Stripe has of an order, less what it gave back, is what is kept of it here.

    I4: and for each paid order there is exactly one confirmation to send.
    """
    _none(b for b in audit(front.shop, front.gateway) if b.invariant in ("I2", "I4"))
    with front.shop.db.reading() as session:
        orders = {order.id: order for order in session.scalars(select(Order))}
        payments = session.scalars(
            select(Payment).where(Payment.payment_intent_id.is_not(None))
        ).all()
        kept = {order.id: net_paid(session, order) for order in orders.values()}
        given_back = {o.id for o in orders.values() if _gave_back_a_part(session, o)}
        confirmations = session.scalar(select(func.count()).where(OutboxRow.kind == "confirmation"))
    net = dict.fromkeys(orders, 0)
    for payment in payments:
        net[payment.order_id] += _net_at_stripe(front, payment.payment_intent_id or "")
    assert net == kept
    for order in orders.values():
        if order.id not in given_back:
            assert net[order.id] == (order.total if order.status == OrderStatus.PAID else 0), (
                order.status
            )
        assert order.status == OrderStatus.PAID or net[order.id] == 0, order.status
        assert 0 <= net[order.id] <= order.total
    assert confirmations == sum(o.paid_at is not None for o in orders.values())


def _none(breaches: Iterable[Breach]) -> None:
    assert [f"{b.invariant} {b.subject}: {b.problem}" for b in breaches] == []


def _gave_back_a_part(session: Session, order: Order) -> bool:
    return any(refund.status in COUNTED_REFUNDS for refund in get_refunds(session, order.id))


def _net_at_stripe(front: Shopfront, payment_intent: str) -> int:
    charges = front.stripe.v1.charges.list({"payment_intent": payment_intent}).data
    disputes = front.stripe.v1.disputes.list({"payment_intent": payment_intent}).data
    came = [c for c in charges if c.status == "succeeded"]
    captured = sum(c.amount_captured - c.amount_refunded for c in came)
    return captured - sum(d.amount for d in disputes if d.status == "lost")


def _places(session: Session, event: Event, *statuses: str) -> int:
    query = select(Order).where(Order.event_id == event.id, Order.status.in_(statuses))
    return sum(sum(order.quantities.values()) for order in session.scalars(query))
