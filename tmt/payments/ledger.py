"""What has come in for an order and gone out again: computed of the rows each time, never kept."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import structlog
from sqlalchemy import ColumnElement, func, select
from sqlalchemy.orm import InstrumentedAttribute, Session

from tmt.catalog import stock
from tmt.checkout.models import Order
from tmt.checkout.states import PAID, REFUNDED, Cause, locked_order, move
from tmt.gateway.contract import SUCCEEDED
from tmt.payments.models import COUNTED, DISPUTE_OVER, Dispute, Payment, Refund
from tmt.tickets.issue import void

log = structlog.get_logger(__name__)

LOST = "lost"


def locked_payment(session: Session, payment_intent: str) -> tuple[Order, Payment] | None:
    """Order and payment of this PaymentIntent, locked in this sequence; None if it is not ours."""
    query = select(Payment).where(Payment.payment_intent == payment_intent)
    payment = session.scalar(query)
    if payment is None:
        return None
    order = locked_order(session, payment.order_id)
    session.refresh(payment, with_for_update=True)
    return order, payment


def payments_of(session: Session, order_id: int) -> Sequence[Payment]:
    """The order's payments, newest first."""
    query = select(Payment).where(Payment.order_id == order_id).order_by(Payment.id.desc())
    return session.scalars(query).all()


def refunds_of(session: Session, order_id: int) -> Sequence[Refund]:
    """The order's refunds, oldest first."""
    query = select(Refund).join(Payment, Payment.id == Refund.payment_id)
    return session.scalars(query.where(Payment.order_id == order_id).order_by(Refund.id)).all()


def disputes_of(session: Session, order_id: int) -> Sequence[Dispute]:
    """The order's disputes, oldest first."""
    query = select(Dispute).join(Payment, Payment.id == Dispute.payment_id)
    return session.scalars(query.where(Payment.order_id == order_id).order_by(Dispute.id)).all()


def is_disputed(session: Session, order_id: int) -> bool:
    """Whether a dispute over the order's money is undecided."""
    return any(d.status not in DISPUTE_OVER for d in disputes_of(session, order_id))


def left_of(session: Session, payment: Payment) -> int:
    """What is left of what the payment brought (minor units): no refund or bank has taken it.

    Refunds that are on their way count as gone.
    """
    if payment.status != SUCCEEDED:
        return 0
    returned = _sum(
        session, Refund.amount, Refund.payment_id == payment.id, Refund.status.in_(COUNTED)
    )
    lost = _sum(session, Dispute.amount, Dispute.payment_id == payment.id, Dispute.status == LOST)
    return max(payment.amount_received - returned - lost, 0)


def net_paid(session: Session, order: Order) -> int:
    """What is left of everything that was paid for the order, in its currency (minor units)."""
    payments = payments_of(session, order.id)
    return sum(left_of(session, p) for p in payments if p.received_currency == order.currency)


def end_if_nothing_is_left(session: Session, order: Order, cause: Cause, now: datetime) -> bool:
    """Ends a paid order of which all the money has gone back: no valid ticket, no taken place."""
    if order.status != PAID or net_paid(session, order) > 0:
        return False
    return_places(session, order, None)
    move(session, order, REFUNDED, cause, now)
    log.info("order.refunded", order=order.code, cause=cause.value)
    return True


def return_places(session: Session, order: Order, numbers: Sequence[int] | None) -> None:
    """Makes tickets of the order void (all, or those of these numbers), their places free."""
    places = void(session, order.id, numbers)
    if places:
        stock.take_back(session, order.event_id, places)


def _sum(session: Session, column: InstrumentedAttribute[int], *where: ColumnElement[bool]) -> int:
    return session.scalar(select(func.coalesce(func.sum(column), 0)).where(*where)) or 0
